"""Downloads from a small hub on this machine, over real HTTP; nothing leaves the machine."""

import contextlib
import hashlib
import re
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from concerto_ros.cli import main
from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.errors import CheckpointError
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.published_weights import (
    LICENCE,
    PUBLISHED,
    cache_folder,
    download_weights,
    find_weights,
)

CONTENT = bytes(range(256)) * 20_000  # 5 MB, several parts
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Hub(ThreadingHTTPServer):
    """Redirects to a storage that honours ranges; remembers what it was asked."""

    def __init__(self):
        super().__init__(('127.0.0.1', 0), HubHandler)
        self.content, self.stated = CONTENT, DIGEST
        self.ends_after = None  # bytes of an answer
        self.claims = None  # bytes
        self.interrupts = False  # presses Ctrl-C after an answer
        self.has_ranges = self.has_length = True
        self.asked = []

    @property
    def url(self):
        return f'http://127.0.0.1:{self.server_port}'


class HubHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers['Range']))
        if self.path.startswith('/storage/'):
            self.answer_file()
        elif self.path == '/Pointcept/Concerto/resolve/main/concerto_tiny.pth':
            self.send_response(302)
            self.send_header('Location', '/storage/tiny')
            self.send_header('X-Linked-Etag', f'"{self.server.stated}"')
            self.end_headers()
        else:
            self.send_error(404)

    def answer_file(self):
        content, start = self.server.content, 0
        if self.headers['Range'] and self.server.has_ranges:
            start = int(re.fullmatch(r'bytes=(\d+)-', self.headers['Range'])[1])
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if self.server.has_length:
            self.send_header('Content-Length', (self.server.claims or len(content)) - start)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client may hang up
            self.wfile.write(content[start:][: self.server.ends_after])
        if self.server.interrupts:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def log_message(self, *args):
        pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    return tmp_path / 'concerto_ros'


@pytest.fixture
def hub(cache, monkeypatch):
    with Hub() as server:
        monkeypatch.setenv('HF_ENDPOINT', server.url)
        monkeypatch.setenv('no_proxy', '*')
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize('endpoint', [None, ''])
def test_names_are_those_of_the_hub(monkeypatch, endpoint):
    monkeypatch.delenv('HF_ENDPOINT', raising=False)
    if endpoint is not None:
        monkeypatch.setenv('HF_ENDPOINT', endpoint)
    urls = {name: weights.url for name, weights in PUBLISHED.items()}
    concerto = 'https://huggingface.co/Pointcept/Concerto/resolve/main/concerto'
    assert urls == {
        **{name: f'{concerto}_{name}.pth' for name in ('tiny', 'small', 'base', 'large')},
        **{f'base_{name}': f'{concerto}_base_{name}.pth' for name in ('origin', 'siglip')},
        'large_outdoor': f'{concerto}_large_outdoor.pth',
        'large_scannet_head': f'{concerto}_large_linear_prob_head_sc.pth',
        'sonata': 'https://huggingface.co/facebook/sonata/resolve/main/sonata.pth',
    }


def test_the_cache_follows_xdg(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    for value in ('', 'relative'):
        monkeypatch.setenv('XDG_CACHE_HOME', value)
        assert cache_folder() == tmp_path / '.cache/concerto_ros'
    monkeypatch.setenv('XDG_CACHE_HOME', '/data')
    assert str(cache_folder()) == '/data/concerto_ros'


def test_a_download_is_kept_with_its_hash_and_tells_licence_and_progress(hub, cache, caplog):
    steps = []
    path = download_weights('tiny', lambda *step: steps.append(step))
    assert path == cache / 'concerto_tiny.pth'
    assert path.read_bytes() == CONTENT
    assert (cache / 'concerto_tiny.pth.sha256').read_text() == f'{DIGEST}  concerto_tiny.pth\n'
    assert len(list(cache.iterdir())) == 2
    assert steps[0] == (0, len(CONTENT))
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert len(steps) > 3
    assert [record.levelname for record in caplog.records] == ['WARNING']
    assert LICENCE in caplog.text
    assert 'CC-BY-NC-4.0' in LICENCE
    assert 'non-commercial' in LICENCE


def test_what_is_here_is_not_downloaded_again(hub):
    path = download_weights('tiny')
    num_asked = len(hub.asked)
    assert download_weights('tiny') == path == find_weights('tiny')
    assert len(hub.asked) == num_asked


def test_an_interrupted_download_goes_on_where_it_ended(hub, cache):
    hub.ends_after = 3_000_000
    with pytest.raises(CheckpointError, match=r'3000000 of 5120000 bytes.*try again'):
        download_weights('tiny')
    with pytest.raises(CheckpointError, match='not on this machine'):
        find_weights('tiny')
    hub.ends_after = None
    steps = []
    path = download_weights('tiny', lambda *step: steps.append(step))
    assert hub.asked[-1] == ('/storage/tiny', 'bytes=3000000-')
    assert steps[0] == (3_000_000, len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert not list(cache.glob('*.part'))


@pytest.mark.parametrize('has_ranges', [True, False])
@pytest.mark.parametrize('num_bytes', [1000, len(CONTENT), len(CONTENT) + 1])
def test_any_rest_of_an_earlier_download_is_overcome(hub, cache, has_ranges, num_bytes):
    hub.has_ranges = has_ranges
    cache.mkdir()
    (cache / 'concerto_tiny.pth.part').write_bytes((CONTENT + b'x')[:num_bytes])
    assert download_weights('tiny').read_bytes() == CONTENT


def test_a_rest_of_another_file_is_refused_once(hub, cache):
    cache.mkdir()
    (cache / 'concerto_tiny.pth.part').write_bytes(b'another version')
    with pytest.raises(CheckpointError, match=f'the hub states {DIGEST}: try again'):
        download_weights('tiny')
    assert list(cache.iterdir()) == []
    assert download_weights('tiny').read_bytes() == CONTENT


def test_a_hub_that_states_no_hash_is_trusted(hub, cache):
    hub.stated = '"W/1234"'
    download_weights('tiny')
    assert (cache / 'concerto_tiny.pth.sha256').read_text().startswith(DIGEST)


def test_a_file_that_changed_since_is_refused_and_can_be_downloaded_again(hub):
    path = download_weights('tiny')
    path.write_bytes(CONTENT[:-1] + b'x')
    with pytest.raises(CheckpointError, match=r'differs from what was .*"concerto download tiny"'):
        find_weights('tiny')
    assert download_weights('tiny').read_bytes() == CONTENT
    assert find_weights('tiny') == path


def test_a_file_that_was_copied_into_the_cache_is_found(cache):
    cache.mkdir()
    (cache / 'concerto_base.pth').write_bytes(b'from a stick')
    assert find_weights('base') == cache / 'concerto_base.pth'


def test_weights_that_are_not_here_are_not_fetched_but_the_command_is_named(hub, cache):
    message = r'"base" \(434 MB\) are not on this machine: run "concerto download base" once'
    with pytest.raises(CheckpointError, match=message):
        find_weights('base')
    assert hub.asked == []
    assert not cache.exists()


def test_the_node_and_the_command_line_do_not_fetch_either(hub):
    config = build(ConcertoConfig, {'semantics.checkpoint': 'base', 'map.device': 'cpu'})
    with pytest.raises(CheckpointError, match='run "concerto download base" once'):
        PerceptionPipeline(config)
    assert hub.asked == []


def test_other_texts_are_paths(tmp_path):
    assert str(find_weights('mine/base')) == 'mine/base'
    assert find_weights(tmp_path / 'base') == tmp_path / 'base'
    assert str(find_weights('bass')) == 'bass'


def test_an_unknown_name_is_refused(cache):
    with pytest.raises(CheckpointError, match=r'no published weights "bass"; there are tiny, sm'):
        download_weights('bass')


@pytest.mark.parametrize(
    ('endpoint', 'reason'),
    [
        ('http://nowhere.invalid', r'[Nn]ame'),  # RFC 6761: no machine has this name
        ('http://127.0.0.1:1', 'refused'),
        ('nowhere', 'unknown url type'),
    ],
)
def test_offline_is_one_clear_sentence(cache, monkeypatch, endpoint, reason):
    monkeypatch.setenv('HF_ENDPOINT', endpoint)
    monkeypatch.setenv('no_proxy', '*')
    with pytest.raises(CheckpointError) as caught:
        download_weights('tiny')
    message = str(caught.value)
    assert re.search(rf'concerto_tiny\.pth cannot be downloaded \(.*{reason}', message)
    assert f'on another machine and copy it to {cache}/concerto_tiny.pth' in message
    assert '\n' not in message


def test_a_file_that_is_not_on_the_hub_is_refused(hub):
    with pytest.raises(CheckpointError, match=r'concerto_small\.pth .*HTTP Error 404: Not Found'):
        download_weights('small')


def test_an_answer_without_length_is_refused(hub):
    hub.has_length = False
    with pytest.raises(CheckpointError, match='does not state its length'):
        download_weights('tiny')


def test_a_full_disk_is_told_before_the_transfer(hub, cache):
    hub.claims = 10**15
    with pytest.raises(CheckpointError, match=r'has \d+ MB left, 1000000000 are needed'):
        download_weights('tiny')
    assert (cache / 'concerto_tiny.pth.part').stat().st_size == 0


def test_a_cache_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    with pytest.raises(CheckpointError, match=r'cannot be written .*XDG_CACHE_HOME'):
        download_weights('tiny')


def test_the_command_tells_size_licence_and_hash(hub, cache, capsys, caplog):
    assert main(['download', 'tiny']) == 0
    said = capsys.readouterr().out
    assert f'tiny: 19 MB from {hub.url}/Pointcept/Concerto/resolve/main/concerto_tiny.pth' in said
    assert f'{cache}/concerto_tiny.pth  sha256 {DIGEST}' in said
    assert LICENCE in caplog.text


def test_the_command_ends_in_one_sentence(hub, cache, capsys):
    assert main(['download', 'tiny', 'bass']) == 2
    assert main(['download', 'small']) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if 'WARNING' not in line]
    assert [line.split()[0] for line in errors] == ['concerto:', 'concerto:']
    assert 'no published weights "bass"' in errors[0]
    assert (cache / 'concerto_tiny.pth').is_file()


def test_ctrl_c_keeps_what_came(hub, cache, capsys):
    hub.ends_after, hub.interrupts = 3_000_000, True
    assert main(['download', 'tiny']) == 130
    assert 'concerto: interrupted; what came is kept' in capsys.readouterr().err
    assert (cache / 'concerto_tiny.pth.part').stat().st_size <= 3_000_000
    hub.ends_after, hub.interrupts = None, False
    assert main(['download', 'tiny']) == 0
    assert find_weights('tiny').read_bytes() == CONTENT


def test_the_command_takes_no_option(hub, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['download', 'tiny', '--fast'])
    assert 'unknown option --fast' in capsys.readouterr().err
    assert hub.asked == []
