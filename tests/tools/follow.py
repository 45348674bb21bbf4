"""Follows the deployments of an app by a WebSocket library that was not written here.

    follow.py LIBRARY URL HOW TOKEN

LIBRARY is the folder that holds the package `websockets`. Each frame is printed as it came, one a line; at the end, why
the connection closed, as {"closed": CODE, "reason": TEXT}.

HOW is one of
    whole    to the first final status
    stuck    one frame; then nothing is read any more
    half     its own side is closed once it has said who it is
    mute     no token is sent
"""

import json
import signal
import socket
import sys

library, url, how, token = sys.argv[1:]
sys.path.insert(0, library)

from websockets.exceptions import ConnectionClosed  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

UNFINISHED = {"queued", "building", "pushing", "starting"}


def open_socket():
    host, port = url.split("/")[2].rsplit(":", 1)
    client = socket.socket()
    # So little that a client that stands still is noticed soon.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((host, int(port)))
    return client


def say(told):
    print(told, flush=True)


def follow(client):
    if how != "mute":
        client.send(json.dumps({"type": "auth", "data": {"token": token}}))
    if how == "half":
        client.socket.shutdown(socket.SHUT_WR)
    for frame in client:
        say(frame)
        if how == "stuck":
            signal.pause()
        read = json.loads(frame)
        if read["type"] == "status" and read["data"]["status"] not in UNFINISHED:
            return


def main():
    # One frame waits in the library at most: what is not read stays in the socket.
    client = connect(url, sock=open_socket(), max_queue=1, compression=None, ping_interval=None)
    try:
        follow(client)
        client.close()
        say(json.dumps({"closed": client.protocol.close_code, "reason": client.protocol.close_reason}))
    except ConnectionClosed as closed:
        close = closed.rcvd
        say(json.dumps({"closed": close and close.code, "reason": close and close.reason}))


main()
