"""Maps as files, and the search in them.

pipeline.saved_map('map').save('out/map.safetensors')
search = MapSearch(SavedMap.load('out/map.safetensors'))
result, probability = search.search('blue chair')
"""

from concerto_ros.storage.chunk_file import StoredFile
from concerto_ros.storage.manifest import MapInfo
from concerto_ros.storage.map_folder import MapFolder, is_single_file
from concerto_ros.storage.map_search import MapSearch
from concerto_ros.storage.map_writer import Chunk, Content, MapWriter, WeightsFile, Written
from concerto_ros.storage.page_files import PageFiles
from concerto_ros.storage.saved_map import FILE_NAME, FORMAT, MapFeatures, SavedMap

__all__ = [
    'FILE_NAME',
    'FORMAT',
    'Chunk',
    'Content',
    'MapFeatures',
    'MapFolder',
    'MapInfo',
    'MapSearch',
    'MapWriter',
    'PageFiles',
    'SavedMap',
    'StoredFile',
    'WeightsFile',
    'Written',
    'is_single_file',
]
