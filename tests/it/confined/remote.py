"""A remote of git's over HTTP, by git's own server program, for whoever has the token. Takes a directory of
repositories, the token, and a file to write its port to."""

import base64
import http.server
import os
import subprocess
import sys

ROOT, TOKEN, PORT = sys.argv[1:]
WANT = "Basic " + base64.b64encode(f"git:{TOKEN}".encode()).decode()


class Remote(http.server.BaseHTTPRequestHandler):
    def answer(self):
        if self.headers["Authorization"] != WANT:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        variables = {
            "GIT_PROJECT_ROOT": ROOT, "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "git", "PATH_INFO": path,
            "QUERY_STRING": query, "REQUEST_METHOD": self.command, "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": self.headers["Content-Type"] or "",
            "HTTP_CONTENT_ENCODING": self.headers["Content-Encoding"] or "",
        }
        ended = subprocess.run(["git", "http-backend"], input=body, stdout=subprocess.PIPE, env={**os.environ, **variables})
        head, _, rest = ended.stdout.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().splitlines()]
        status = next((value for name, value in lines if name == "Status"), "200 OK")
        self.send_response(int(status.split()[0]))
        for name, value in lines:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(rest)

    do_GET = do_POST = answer

    def log_message(self, *words):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Remote)
with open(PORT + ".new", "w") as file:
    file.write(str(server.server_port))
os.rename(PORT + ".new", PORT)
server.serve_forever()
