"""From scores of map voxels to named objects.

search = ObjectSearch(max_results=10, min_score=0.5, min_points=10, gap=0.06)
result = search.search(points, scores, 'blue chair')
for hit in result.objects:
    print(hit.id, hit.score, hit.center)
"""
