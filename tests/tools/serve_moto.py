"""Moto's S3 with one bucket, on a port that it says. It ends when its input does."""

import logging
import sys
import urllib.request

from moto.server import ThreadedMotoServer

# Not a line for each request.
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
bucket = f"http://{host}:{port}/{sys.argv[1]}"
urllib.request.urlopen(urllib.request.Request(bucket, method="PUT")).close()
print(port, flush=True)
sys.stdin.read()
server.stop()
