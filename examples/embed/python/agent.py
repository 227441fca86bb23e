#!/usr/bin/env python3
"""Asks a running `slipway agent` over its Unix socket to upgrade the product, and follows its events until the end."""

import http.client
import json
import socket
import sys
import uuid


class Agent(http.client.HTTPConnection):
    """HTTP over a Unix socket. Whoever may open the socket needs no token."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Refused(Exception):
    """The agent's own error: code, message, hint, retryable."""

    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']} ({error['hint']})")
        self.error = error


def ask(path, verb, route, body=None):
    """One request on a connection of its own: the operation belongs to the agent, not to the connection."""
    connection = Agent(path)
    headers = {"content-type": "application/json"} if body is not None else {}
    connection.request(verb, route, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    answer = json.load(response)
    connection.close()
    if response.status >= 400:
        raise Refused(answer["error"])
    return answer


def open_events(path):
    """Server-sent events, oldest first. After a cut, `Last-Event-ID` with the last `seq` brings what was missed."""
    connection = Agent(path)
    connection.request("GET", "/v1/update/events", headers={"accept": "text/event-stream"})
    lines = connection.getresponse()
    return (json.loads(line[len(b"data: "):]) for line in lines if line.startswith(b"data: "))


def upgrade(path):
    offer = ask(path, "POST", "/v1/update/check", {})["offer"]
    if offer["kind"] == "none":
        print("nothing newer")
        return 0
    print(f"{offer['version']} is available")

    stream = open_events(path)  # before the operation begins, so that nothing is missed
    begun = ask(path, "POST", "/v1/update/install", {"version": offer["version"], "idempotencyKey": str(uuid.uuid4())})
    if begun["state"] == "running":
        for event in stream:
            data = event["data"]
            if event["event"] == "update.progress" and data["event"] == "phase":
                print(f"now {data['phase']} {data.get('step', '')}")
            if event["event"] == "update.operation" and data["id"] == begun["id"] and data["state"] != "running":
                break

    ended = ask(path, "GET", "/v1/update/status")["operation"]
    if ended["state"] == "done":
        print(f"runs {offer['version']}")
        return 0
    rolled_back = (ended["transaction"] or {}).get("rolledBack")
    print(f"{'back on the old version' if rolled_back else 'failed'}: {ended['error']['code']}: {ended['error']['message']}")
    return 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: agent.py SOCKET")
    try:
        sys.exit(upgrade(sys.argv[1]))
    except Refused as refused:
        print(f"refused: {refused}")
        sys.exit(1)
