"""Uploads a file in parts with tuspy: upload.py URL FILE CHUNK_BYTES. Prints where."""

import sys

from tusclient.client import TusClient

url, path, chunk = sys.argv[1:]
client = TusClient(url)
uploader = client.uploader(path, chunk_size=int(chunk), retries=20, retry_delay=0.01)
uploader.upload()
print(uploader.url)
