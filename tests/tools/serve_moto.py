"""Moto's S3 with one bucket, on a port that it says. It ends when its input does."""

import logging
import sys
import threading
import urllib.request

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

moto = DomainDispatcherApplication(create_backend_app)
one_at_a_time = threading.Lock()


def answer(environ, start_response):
    """What moto answers, which looks whether a condition holds and then acts on it, with nothing that keeps others out."""
    with one_at_a_time:
        return list(moto(environ, start_response))


# Not a line for each request.
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", 0, answer, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
bucket = f"http://127.0.0.1:{server.port}/{sys.argv[1]}"
urllib.request.urlopen(urllib.request.Request(bucket, method="PUT")).close()
print(server.port, flush=True)
sys.stdin.read()
