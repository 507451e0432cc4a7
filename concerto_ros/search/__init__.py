"""From scores of map voxels to named objects.

search = ObjectSearch(config.search, ObjectRegistry(voxel_size=0.02))
result = search.search(points, scores, 'blue chair')
for hit in result.objects:
    print(hit.id, hit.score, hit.center)
"""
