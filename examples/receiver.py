#!/usr/bin/env python3
"""A receiver that accepts each message once.

OPQ delivers at least once and in order per topic, so remembering the last
sequence number of each topic is enough to leave repeats out. The topic is taken
from the message's id, which is another one when a topic was deleted and made
anew. What is replayed is a repeat, too.

SPDX-License-Identifier: MIT
"""
import http.server
import sys


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    newest = {}  # topic's id -> last sequence number; keep it with your data

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        topic_id = self.headers["webhook-id"].rpartition("-")[0]
        sequence = int(self.headers["Opq-Seq"])
        if sequence > self.newest.get(topic_id, -1):
            print(self.headers["Opq-Topic"], sequence,
                  body.decode(errors="replace"), flush=True)
            self.newest[topic_id] = sequence
        self.send_response(204)  # any 2xx: done; anything else: again later
        self.end_headers()

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Receiver)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
