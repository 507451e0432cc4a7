"""Maps as files, and the search in those that are one file.

folder = MapFolder.open('out/map')
arrays = folder.read(key)
"""

from concerto_ros.storage.chunk_file import StoredFile
from concerto_ros.storage.manifest import MANIFEST, MapInfo
from concerto_ros.storage.map_folder import FOLDER_NAME, MapFolder, find_map, is_single_file
from concerto_ros.storage.map_search import Heat, MapSearch
from concerto_ros.storage.map_writer import Chunk, Content, MapWriter, WeightsFile, Written
from concerto_ros.storage.page_files import PageFiles
from concerto_ros.storage.saved_map import FILE_NAME, FORMAT, MapFeatures, SavedMap
from concerto_ros.storage.search_settings import search_settings

__all__ = [
    'FILE_NAME',
    'FOLDER_NAME',
    'FORMAT',
    'MANIFEST',
    'Chunk',
    'Content',
    'Heat',
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
    'find_map',
    'is_single_file',
    'search_settings',
]
