"""WebSockets: all that goes over them, and where their token may be."""

from lane import lane, node

from harness import claims_of, forged, free_port


def run(cases, issuer):
    for subject, protocol_token, settings in [
        ("ws", False, {}),
        ("ws, token in the protocols", True, {"COUNTERSIGN_WEBSOCKET_PROTOCOL_TOKEN": "true"}),
    ]:
        port = free_port()
        with lane(issuer, f"http://127.0.0.1:{port}", **settings) as proxy:
            token = proxy.token()
            given = {"token": token, "forged": forged(token), "user": claims_of(token)["sub"]}
            url = f"ws://{proxy.address}"
            node(cases, subject, "sockets.mjs", port=port, url=url, protocolToken=protocol_token, **given)
            connections = proxy.settled("countersign_connections", 0)
            cases.check(f"{subject}: nothing is left open", connections == 0, connections)
