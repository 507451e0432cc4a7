"""Maps as files, and the search in them.

pipeline.saved_map('map').save('out/map.safetensors')
search = MapSearch(SavedMap.load('out/map.safetensors'))
result, probability = search.search('blue chair')
"""

from concerto_ros.storage.map_search import MapSearch
from concerto_ros.storage.saved_map import FILE_NAME, FORMAT, MapFeatures, SavedMap

__all__ = ['FILE_NAME', 'FORMAT', 'MapFeatures', 'MapSearch', 'SavedMap']
