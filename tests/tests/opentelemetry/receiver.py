"""A receiver of OpenTelemetry's logs, by OpenTelemetry's own protobufs and gRPC's own server.

Prints a line with its ports, then a JSON line for each record that it takes. A record whose body has the word
"poison" is rejected, and counted in the answer. With three arguments (certificate, key, authorities of clients) it
speaks TLS, and only with clients that have a certificate.
"""

import gzip
import json
import ssl
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as messages
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as services

PRINTING = threading.Lock()


def value(of):
    """An AnyValue as JSON has it."""
    kind = of.WhichOneof("value")
    return getattr(of, kind) if kind in ("string_value", "int_value") else str(of)


def attributes(of):
    return {one.key: value(one.value) for one in of}


def take(protocol, request):
    """Prints what is good of a request; the answer."""
    rejected, lines = 0, []
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                body = value(record.body)
                if "poison" in body:
                    rejected += 1
                    continue
                lines.append(
                    {
                        "protocol": protocol,
                        "resource": attributes(resource.resource.attributes),
                        "scope": scope.scope.name,
                        "time": record.time_unix_nano,
                        "observed": record.observed_time_unix_nano,
                        "severity": [record.severity_number, record.severity_text],
                        "event": record.event_name,
                        "attributes": attributes(record.attributes),
                        "body": body,
                    }
                )
    with PRINTING:
        for line in lines:
            print(json.dumps(line))
        sys.stdout.flush()
    answer = messages.ExportLogsServiceResponse()
    if rejected:
        answer.partial_success.rejected_log_records = rejected
        answer.partial_success.error_message = "it is poison"
    return answer


class Grpc(services.LogsServiceServicer):
    def Export(self, request, context):
        return take("grpc", request)


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        kind = self.headers.get("Content-Type")
        if self.path != "/v1/logs" or kind != "application/x-protobuf":
            self.answer(404, b"")
            return
        request = messages.ExportLogsServiceRequest.FromString(body)
        self.answer(200, take("http", request).SerializeToString())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def read(path):
    with open(path, "rb") as file:
        return file.read()


def main():
    files = sys.argv[1:]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    services.add_LogsServiceServicer_to_server(Grpc(), server)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Http)
    if files:
        certificate, key, authorities = files
        credentials = grpc.ssl_server_credentials(
            [(read(key), read(certificate))], read(authorities), require_client_auth=True
        )
        port = server.add_secure_port("127.0.0.1:0", credentials)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(authorities)
        context.verify_mode = ssl.CERT_REQUIRED
        http.socket = context.wrap_socket(http.socket, server_side=True)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(json.dumps({"grpc": port, "http": http.server_address[1]}), flush=True)
    http.serve_forever()


main()
