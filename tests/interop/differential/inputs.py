"""What is sent: families of requests whose framing, target or names are read in more than one way.

Each input is bytes, in which `<T>` stands for a path of its own, `<A>` for the header line that says who
calls, or for nothing, and `<L>` for the number of the bytes after the head.
"""

import dataclasses

HIDDEN = b"GET /open/hidden HTTP/1.1\r\nHost: p\r\n\r\n"  # a request, to whoever ends the one before it too early
HIDDEN_CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
AFTER = b"GET <T>/after?n=1 HTTP/1.1\r\nHost: p\r\n<A>Connection: close\r\n\r\n"


@dataclasses.dataclass(frozen=True)
class Input:
    name: str
    data: bytes  # with what is pipelined after it
    leaves: bool = False  # the client closes once it has sent all

    def bytes(self, target, authorization):
        head, end, rest = self.data.partition(b"\r\n\r\n")
        data = head.replace(b"<L>", b"%d" % len(rest)) + end + rest
        return data.replace(b"<T>", target).replace(b"<A>", authorization)


def post(headers=b"", body=b"", version=b"1.1", method=b"POST", target=b"<T>", host=b"Host: p\r\n"):
    return b"%s %s HTTP/%s\r\n%s<A>%s\r\n%s" % (method, target, version, host, headers, body)


def all_inputs():
    """Every input of every family, each with another request behind it."""
    families = {
        "CL.TE": cl_te(),
        "TE.TE": te_te(),
        "length": lengths(),
        "chunk": chunks(),
        "trailers": trailers(),
        "line ends": line_ends(),
        "names": names(),
        "target": targets(),
        "method": methods(),
        "host": hosts(),
        "HTTP/1.0": version_1_0(),
        "connection": connections(),
        "expect": expectations(),
        "pipelined": pipelined(),
    }
    for family, cases in families.items():
        for case in cases:
            yield Input(f"{family}: {told(case)}", case + AFTER)
    for case in left():
        yield Input(f"left: {told(case)}", case, leaves=True)


def told(case):
    """An input in a line of print."""
    text = repr(case)[2:-1]
    return text if len(text) < 230 else f"{text[:150]}…{text[-50:]} ({len(case)} bytes)"


def cl_te():
    for length in b"4", b"0", b"<L>", b"999":
        for first, second in [
            (b"Content-Length: " + length + b"\r\n", CHUNKED),
            (CHUNKED, b"Content-Length: " + length + b"\r\n"),
        ]:
            for between in b"", b"X-Between: 1\r\n":
                yield post(first + between + second, HIDDEN_CHUNK)
    yield post(b"Content-Length: 6\r\n" + CHUNKED, b"0\r\n\r\nG")
    yield post(CHUNKED + b"content_length: 4\r\n", HIDDEN_CHUNK)
    yield post(b"Content-Length: <L>\r\nTransfer_Encoding: chunked\r\n", HIDDEN_CHUNK)
    yield post(b"Content-Length: <L>\r\nTransfer.Encoding: chunked\r\n", HIDDEN_CHUNK)
    yield post(b"Content-Length: <L>\r\nX: y\r\n Transfer-Encoding: chunked\r\n", HIDDEN_CHUNK)
    yield post(b"Content-Length: <L>\r\nX: y\nTransfer-Encoding: chunked\r\n", HIDDEN_CHUNK)
    yield post(b"Content-Length: <L>\r\nX: y\rTransfer-Encoding: chunked\r\n", HIDDEN_CHUNK)


def te_te():
    values = [
        b"chunked", b"Chunked", b"chunKed", b" chunked", b"\tchunked", b"chunked ", b"chunked\t", b"chunked,", b",chunked",
        b"chunked,chunked", b"chunked, identity", b"identity, chunked", b"identity", b"gzip, chunked", b"chunked, gzip",
        b"xchunked", b"chunkedx", b"x chunked", b"chunked;q=1", b"chunked; a", b'"chunked"', b"'chunked'", b"\x0bchunked",
        b"\x0cchunked", b"chunked\x0b", b"chunked\0", b"\0chunked", b"\xa0chunked", b"\xc4\x8bhunked", b"chun\tked", b"",
        b"\r\n chunked", b"\n chunked", b"chunked\r\n ", b"cow", b"trailers", b"deflate", b"br", b"chunked\\", b"[chunked]",
    ]  # fmt: skip
    for value in values:
        yield post(b"Transfer-Encoding:" + b" " + value + b"\r\n", HIDDEN_CHUNK)
        yield post(b"Content-Length: <L>\r\nTransfer-Encoding: " + value + b"\r\n", HIDDEN_CHUNK)
    for value in b"x", b"identity", b"cow", b"chunked", b"", b"gzip":
        other = b"Transfer-encoding: " + value + b"\r\n"
        yield post(CHUNKED + other, HIDDEN_CHUNK)
        yield post(other + CHUNKED, HIDDEN_CHUNK)
    for name in [
        b"Transfer-Encoding ", b"Transfer-Encoding\t", b" Transfer-Encoding", b"Transfer_Encoding", b"transfer-encoding",
        b"TRANSFER-ENCODING", b"X-Transfer-Encoding", b"Transfer Encoding", b"Transfer-Encoding\0", b"Transfer-\rEncoding",
        b"TE", b"Transfer-Encoding\x0b", b"\x0bTransfer-Encoding",
    ]:  # fmt: skip
        yield post(name + b": chunked\r\n", HIDDEN_CHUNK)
        yield post(b"Content-Length: <L>\r\n" + name + b": chunked\r\n", HIDDEN_CHUNK)
    yield post(b"Transfer-Encoding:chunked\r\n", HIDDEN_CHUNK)
    yield post(CHUNKED, HIDDEN_CHUNK, method=b"GET")
    yield post(CHUNKED, HIDDEN_CHUNK, method=b"HEAD")
    yield post(CHUNKED, HIDDEN_CHUNK, method=b"DELETE")


def lengths():
    values = [
        b"+5", b"-5", b"5 ", b"\t5", b"0x5", b"5,5", b"5, 5", b"5, 6", b"05", b"005", b"", b" ", b"5\t", b"5.0", b"5e0", b"5_0",
        b"0", b"00", b"-0", b"+0", b"18446744073709551616", b"18446744073709551621", b"4294967301", b"9" * 40, b"\x0b5",
        b"5\0", b"5;5", b"'5'", b'"5"', b"five", b"\xd9\xa5", b"5 5", b"\r\n 5", b"\n 5", b"5\r\n ", b"0 5", b"NaN", b"Infinity",
    ]  # fmt: skip
    for value in values:
        yield post(b"Content-Length: " + value + b"\r\n", b"hello")
    for first, second in [
        (b"5", b"5"),
        (b"5", b"6"),
        (b"6", b"5"),
        (b"0", b"5"),
        (b"5", b"0"),
        (b"5", b""),
        (b"", b"5"),
        (b"5", b"05"),
    ]:
        yield post(b"Content-Length: %s\r\nContent-Length: %s\r\n" % (first, second), b"hello")
        yield post(b"Content-Length: %s\r\nX: y\r\ncontent-length: %s\r\n" % (first, second), b"hello")
    for name in [
        b"Content-Length ", b" Content-Length", b"Content_Length", b"Content.Length", b"Content-Length\t", b"Content Length",
        b"\x0bContent-Length", b"Content-Length\0", b"CONTENT-LENGTH", b"X-Content-Length", b"Content-Length-",
    ]:  # fmt: skip
        yield post(name + b": 5\r\n", b"hello")
        yield post(name + b": <L>\r\n", HIDDEN)
        yield post(b"Content-Length: 5\r\n" + name + b": 0\r\n", b"hello")
    for method in b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PUT":
        yield post(b"Content-Length: <L>\r\n", HIDDEN, method=method)


def chunks():
    sizes = [
        b"5", b"05", b"005", b"0" * 15 + b"5", b"0" * 16 + b"5", b"0" * 40 + b"5", b"0x5", b"0X5", b"x5", b"+5", b"-5", b"-1", b"5_0", b" 5", b"5 ",
        b"5\t", b"\t5", b"5  ", b"5h", b"h5", b"", b"fffffffffffffffff", b"ffffffffffffffff", b"10000000000000005",
        b"100000005", b"7fffffffffffffff", b"8000000000000005", b"FFFFFFFF", b"5.0", b"'5'", b"5,5", b"5\0", b"\0" + b"5", b"\xd9\xa5", b"5\x0b", b"5-",
    ]  # fmt: skip
    for size in sizes:
        yield post(CHUNKED, size + b"\r\nhello\r\n0\r\n\r\n")
    for size in [b"A", b"a", b"0A", b"00a", b"0xa", b"aA"]:
        yield post(CHUNKED, size + b"\r\nhello12345\r\n0\r\n\r\n")
    extensions = [
        b";x", b";x=1", b"; x=1", b" ;x=1", b";", b";;", b";=", b";x=", b';x="1"', b';x="\r\n0\r\n\r\n"', b";x=\r", b";x\n", b";x=\n", b"; \n",
        b";x=1;y=2", b";\0", b";\x80", b";x=\x0b", b";" + b"e" * 200, b";" + b"e" * 20000, b"\r;x", b"\n;x", b";x\r5",
        b';x="' + HIDDEN + b'"', b";\n" + HIDDEN, b" x", b"\tx", b"\x0b;x", b",x", b":x",
    ]  # fmt: skip
    for extension in extensions:
        yield post(CHUNKED, b"5" + extension + b"\r\nhello\r\n0\r\n\r\n")
        if len(extension) < 10:
            yield post(CHUNKED, b"5\r\nhello\r\n0" + extension + b"\r\n\r\n")
    for end in [
        b"\n",
        b"\r",
        b"\n\r",
        b"\r\r\n",
        b"\r\n\r\n",
        b"",
        b"X\r\n",
        b"XX",
        b"XX\r\n",
        b"\0\r\n",
        b" \r\n",
        b"\t\r\n",
    ]:
        yield post(CHUNKED, b"5" + end + b"hello\r\n0\r\n\r\n")
        yield post(CHUNKED, b"5\r\nhello" + end + b"0\r\n\r\n")
        yield post(CHUNKED, b"5\r\nhello\r\n0" + end + b"\r\n")
        yield post(CHUNKED, b"5\r\nhello\r\n0\r\n" + end)
    for body in [
        b"0\r\n\r\n", b"00\r\n\r\n", b"000000000000000000000\r\n\r\n", b"0;x\r\n\r\n", b"0 \r\n\r\n", b"-0\r\n\r\n", b"+0\r\n\r\n", b"0x0\r\n\r\n", b"\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n" + HIDDEN, b"4\r\nhello\r\n0\r\n\r\n", b"6\r\nhello\r\n0\r\n\r\n", b"1\r\nh\r\n" * 50 + b"0\r\n\r\n",
        (b"1;" + b"e" * 1000 + b"\r\nh\r\n") * 30 + b"0\r\n\r\n", b"5\nhello\n0\n\n", b"5\r\nhello\r\n", b"5\r\nhel",
    ]:  # fmt: skip
        yield post(CHUNKED, body)


def trailers():
    for trailer in [
        b"X-A: 1\r\n", b"X-A: 1\r\nX-B: 2\r\n", b"X-Clerk-User-Id: root\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
        b"Host: q\r\n", b"Authorization: Bearer x\r\n", b"X-A : 1\r\n", b"X-A: 1\r\n 2\r\n", b"X-A\r\n", b": 1\r\n", b"X-A: \0\r\n", b"X-A: 1\rX-B: 2\r\n",
        b"X-A: 1\n", b"X-A: 1\nX-B: 2\r\n", b"X_A: 1\r\n", b"Connection: close\r\n", b"X-A: " + b"a" * 9000 + b"\r\n", b"X: y\r\n" * 200, HIDDEN[:-2],
    ]:  # fmt: skip
        yield post(CHUNKED, b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n")
        yield post(
            CHUNKED + b"Trailer: X-A, X-Clerk-User-Id, Content-Length, Host\r\n",
            b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n",
        )
    yield post(b"Trailer: X-A\r\n")
    yield post(b"Trailer: X-A\r\nContent-Length: 5\r\n", b"hello")
    yield post(CHUNKED + b"Trailer: Transfer-Encoding\r\n", HELLO)


def line_ends():
    plain = post(b"Content-Length: 5\r\nX-A: 1\r\n", b"hello")
    head, _, body = plain.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    for end in b"\n", b"\r", b"\r\r\n", b"\n\r", b"\0\r\n", b" \r\n", b"\x0b\r\n", b"\x85":
        yield end.join([*lines, b"", body])
        yield b"\r\n".join(lines) + end + b"\r\n" + body
        yield b"\r\n".join(lines) + b"\r\n" + end + body
        yield lines[0] + end + b"\r\n".join([*lines[1:], b"", body])
        yield b"\r\n".join(lines[:2]) + end + b"\r\n".join([*lines[2:], b"", body])
        yield end + plain
    yield b"\r\n" + plain
    yield b"\r\n\r\n" + plain
    yield b"\n\n" + plain
    yield b" " + plain
    yield b"\0" + plain
    yield b"POST <T> HTTP/1.1\r\n X-A: 1\r\nHost: p\r\n<A>\r\n"
    yield b"POST <T> HTTP/1.1\r\n\tHost: p\r\nHost: p\r\n<A>\r\n"
    for fold in b"\r\n ", b"\r\n\t", b"\n ", b"\r ", b"\r\n\x0b", b"\r\n  ":
        yield post(b"X-A: 1" + fold + b"X-B: 2\r\n")
        yield post(b"X-A:" + fold + b"1\r\nContent-Length: 5\r\n", b"hello")
        yield post(b"X-A: 1" + fold + b"\r\nContent-Length: 5\r\n", b"hello")


def names():
    spoof = b"X-Clerk-User-Id"
    for name in [
        spoof, b"x-clerk-user-id", b"X_Clerk_User_Id", b"X-Clerk_User-Id", b"X-Clerk-User-Id ", b"X-Clerk-User-Id\t", b" X-Clerk-User-Id", b"X.Clerk.User.Id",
        b"HTTP_X_CLERK_USER_ID", b"X-Clerk-User-Id-", b"X-Clerk-User-Id_", b"X-Clerk-User-Id\0", b"X-Clerk-User-Id\x0b", b"X-Clerk\rUser-Id", b"X~Clerk~User~Id",
        b"X-Clerk-User-Id\xa0", b"X-Clerk-User\xadId", b"\xef\xbb\xbfX-Clerk-User-Id", b"X!Clerk!User!Id", b"X--Clerk-User-Id", b"_X-Clerk-User-Id", b"-X-Clerk-User-Id",
    ]:  # fmt: skip
        yield post(name + b": root\r\n")
        yield post(name + b": root\r\nContent-Length: 5\r\n", b"hello")
    for header in [
        b"X-A", b":", b": x", b"X-A:", b"X A: 1", b"X\tA: 1", b"X(A): 1", b"X@A: 1", b"\"X\": 1", b"X-\x80: 1", b"X-A: \x80", b"X-A: a\0b", b"X-A: a\x01b", b"X-A: a\x7fb",
        b"X-A: a\tb", b"X-A: a\rb", b"X/A: 1", b"X[A]: 1", b"X{A}: 1", b"X=A: 1", b"X'A: 1", b"X|A: 1", b"X^A: 1", b"X`A: 1", b"X#A: 1", b"X%41: 1", b"X$A: 1",
        b"X&A: 1", b"X*A: 1", b"X+A: 1", b"Content-Type: a\r\nContent-Type: b", b"Content_Type: a", b"Cookie: a=1\r\nCookie: b=2",
        b"Proxy: http://q", b"Keep-Alive: x", b"TE: trailers", b"X-Forwarded-Host: q", b"Forwarded: host=q", b"X-HTTP-Method-Override: DELETE", b"X-Original-URL: /q",
        b"X-Rewrite-URL: /q", b"X-A: " + b"a" * 7000, b"X-" + b"a" * 4000 + b": 1", b"X: " * 3 + b"y",
    ]:  # fmt: skip
        yield post(header + b"\r\nContent-Length: 5\r\n", b"hello")


def targets():
    for target in [
        b"<T>?", b"<T>?a=b", b"<T>?a=b?c", b"<T>??", b"<T>#f", b"<T>?a#f", b"<T>/", b"<T>/a%20b", b"<T>/%41", b"<T>/%7e", b"<T>/%7E", b"<T>/%c3%a9", b"<T>/\xc3\xa9", b"<T>/\xe9", b"<T>/a%2fb",
        b"<T>/a%5cb", b"<T>/a\\b", b"<T>//a", b"//<T>", b"<T>/./a", b"<T>/../a", b"<T>/%2e%2e/a", b"<T>/..;/a", b"<T>/;a", b"<T>/%00", b"<T>/%0a", b"<T>/%0d%0a", b"<T>/%25", b"<T>/%",
        b"<T>/%2", b"<T>/%zz", b"<T>/%u002e", b"<T>/%c0%ae", b"<T>/a b", b"<T>/a\tb", b"<T>/a\x0bb", b"<T>/a\0b", b"<T>/a\x7fb", b"<T>/{a}", b"<T>/a|b", b"<T>/a^b", b'<T>/a"b', b"<T>/<a>", b"<T>/a`b",
        b"<T>/[a]", b"<T>/a'b", b"<T>/a*b", b"<T>/a!$&()+,=:@b", b"<T>/~a", b"<T>?a=%00", b"<T>?a=%0d%0a", b"<T>?a=\xc3\xa9", b"<T>?a=\xe9", b"<T>?a=b|c", b"<T>?a={b}", b'<T>?a="', b"<T>?a=%", b"<T>?a=%zz",
        b"<T>?a=../..", b"<T>?a=\\", b"<T>?a='", b"<T>?a=^", b"<T>?a=`", b"<T>?a=<b>", b"<T>?/a//b", b"<T>?a;b", b"<T>?a+b", b"http://p<T>", b"HTTP://p<T>", b"hTTp://P<T>", b"http://p:80<T>", b"http://q<T>",
        b"https://p<T>", b"ftp://p<T>", b"http://u@p<T>", b"http://p", b"http://p?<T>", b"http:<T>", b"http:/<T>", b"http://<T>", b"http://p:<T>", b"http://p:99999<T>", b"http://[::1]<T>", b"p<T>", b"*", b"", b"/", b"a", b"?a",
        b"p:80", b"<T>/" + b"a" * 3000, b"<T>?" + b"a" * 7000, b"<T>/%E2%80%AE", b"<T>/a%3Fb", b"<T>/a%23b", b"<T>/a%26", b"<T>/%3a", b"<T>/%3A%40", b"<T>/a%2Bb",
    ]:  # fmt: skip
        yield post(b"Content-Length: 5\r\n", b"hello", target=target)
    for target in b"http://p<T>", b"http://q<T>", b"*", b"http://p":
        yield post(target=target, method=b"GET")
        yield post(target=target, method=b"OPTIONS")


def methods():
    for method in [
        b"GET", b"get", b"GeT", b"FOO", b"PROPFIND", b"PATCH", b"PUT", b"TRACE", b"CONNECT", b"OPTIONS", b"HEAD", b"GE T", b"", b" GET", b"\tGET", b"G\0T", b"G\x80T", b"GET,", b"GET:", b"(GET)", b"G-T", b"G_T",
        b"M-SEARCH", b"QUERY", b"PRI", b"A" * 300, b"!#$%&'*+-.^_`|~", b"GET\rX", b"GET\nX", b"SOURCE", b"LINK", b"PURGE", b"MKCOL",
    ]:  # fmt: skip
        yield post(method=method)
        yield post(b"Content-Length: 5\r\n", b"hello", method=method)
    line = b"<T> HTTP/1.1"
    for first in [
        b"GET  " + line, b"GET\t" + line, b"GET <T>  HTTP/1.1", b"GET <T>\tHTTP/1.1", b"GET <T> HTTP/1.1 ", b"GET <T> HTTP/1.1\t", b"GET <T>", b"GET <T> ", b"GET <T> http/1.1", b"GET <T> HTTP/1.2", b"GET <T> HTTP/2.0",
        b"GET <T> HTTP/0.9", b"GET <T> HTTP/1", b"GET <T> HTTP/1.10", b"GET <T> HTTP/01.1", b"GET <T> HTTP/1.1x", b"GET <T> HTTPS/1.1", b"GET <T> HTTP/1.1 HTTP/1.1", b"GET <T> X HTTP/1.1", b"GET <T>\x0bHTTP/1.1", b"GET <T> HTTP 1.1",
    ]:  # fmt: skip
        yield first + b"\r\nHost: p\r\n<A>\r\n"


def hosts():
    for value in [
        b"p", b"P", b"p.", b"p:80", b"p:", b"p:0", b"p:99999", b"p:-1", b"p:x", b"p:80:80", b"", b" ", b"a, b", b"a b", b"a/b", b"a?b", b"a#b", b"a\\b", b"u@p", b"[::1]", b"[::1]:80", b"[::1", b"::1", b"[fe80::1%25eth0]",
        b"127.1", b"xn--example-.org", b"p\0", b"p\x0b", b"p%20", b"p%00", b"\xc3\xa9", b"_p", b"p_q", b"-p", b"p..q", b".p", b"*", b"a" * 300, b"p\tq", b"<p>", b"p;q", b"p'q", b'"p"', b"http://p",
    ]:  # fmt: skip
        yield post(host=b"Host: " + value + b"\r\n")
    for headers in [
        b"",
        b"Host: p\r\nHost: p\r\n",
        b"Host: p\r\nHost: q\r\n",
        b"Host : p\r\n",
        b"Host:p\r\n",
        b"host: p\r\n",
        b"HOST: p\r\n",
        b"Host: p\r\nX_Host: q\r\n",
        b" Host: p\r\n",
        b"Host: p\r\n q\r\n",
        b"Host\r\n",
        b"Host: p\r\nhost : q\r\n",
    ]:
        yield post(host=headers)
        yield post(host=headers, target=b"http://p<T>")


def version_1_0():
    for keep in (
        b"",
        b"Connection: keep-alive\r\n",
        b"Connection: close\r\n",
        b"Connection: Keep-Alive, close\r\n",
        b"Keep-Alive: 5\r\n",
    ):
        yield post(keep, version=b"1.0")
        yield post(keep + b"Content-Length: 5\r\n", b"hello", version=b"1.0")
        yield post(keep + CHUNKED, HELLO, version=b"1.0")
        yield post(keep + CHUNKED, HIDDEN_CHUNK, version=b"1.0")
        yield post(keep + b"Content-Length: 4\r\n" + CHUNKED, HIDDEN_CHUNK, version=b"1.0")
        yield post(keep, b"hello until the end", version=b"1.0")
        yield post(keep, version=b"1.0", method=b"GET", host=b"")


def connections():
    for value in [
        b"close", b"Close", b"keep-alive", b"close, keep-alive", b"content-length", b"Content-Length, close", b"transfer-encoding", b"host", b"authorization", b"x-clerk-user-id", b"X-Clerk-User-Id, Signature", b"close, x-clerk-user-id",
        b"cookie", b",", b", ,x-clerk-user-id;q=1", b"\xff", b"", b"te", b"trailer", b"expect", b"upgrade", b"a" * 2000, b",".join(b"n%d" % n for n in range(300)), b"connection", b"x-request-id", b"x-forwarded-for", b"proxy-connection",
    ]:  # fmt: skip
        header = b"Connection: " + value + b"\r\n"
        yield post(header)
        yield post(header + b"Content-Length: 5\r\n", b"hello")
        yield post(header + CHUNKED, HELLO)
    for upgrade in b"websocket", b"h2c", b"foo", b"websocket, h2c", b"TLS/1.0", b"HTTP/2.0":
        yield post(b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\nContent-Length: 5\r\n", b"hello")
        yield post(
            b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\nUpgrade: " + upgrade + b"\r\n",
            HIDDEN,
            method=b"GET",
        )
    socket = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: %s\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    for version in b"13", b"1337", b"":
        yield post(socket % version, HIDDEN, method=b"GET")
    yield post(socket % b"13" + b"Content-Length: 5\r\n", b"hello", method=b"GET")


def expectations():
    for value in [
        b"100-continue",
        b"100-Continue",
        b" 100-continue ",
        b"100-continue, x",
        b"x",
        b"",
        b"200-ok",
        b"100 continue",
        b"y 100-continue",
        b"100-continue\r\nExpect: 100-continue",
        b"100-continue\r\nExpect: x",
    ]:
        header = b"Expect: " + value + b"\r\n"
        yield post(header + b"Content-Length: 5\r\n", b"hello")
        yield post(header + CHUNKED, HELLO)
        yield post(header)
        yield post(header, method=b"GET")
        yield post(header + b"Content-Length: <L>\r\n", HIDDEN)
        yield post(header + b"Content-Length: 5\r\n", b"hello", version=b"1.0")
    yield post(b"Expect : 100-continue\r\nContent-Length: 5\r\n", b"hello")
    yield post(b"Expect:\r\n 100-continue\r\nContent-Length: 5\r\n", b"hello")


def pipelined():
    get = post(method=b"GET")
    yield get
    yield get * 3
    yield get * 20
    yield post(b"Content-Length: 5\r\n", b"hello") * 3
    yield post(CHUNKED, HELLO) * 3
    yield post(b"Content-Length: 5\r\n", b"hello") + post(CHUNKED, HELLO) + post(method=b"HEAD") + get
    yield get + b"\r\n" + get
    yield get + b"\r\n\r\n" + get
    yield get + b"garbage\r\n\r\n" + get
    yield get + b"\0" + get
    yield post(b"Content-Length: 0\r\n") + get
    yield post(b"Content-Length: 5\r\n", b"hello\r\n") + get
    yield post(b"Content-Length: 5\r\n", b"hello!") + get
    yield post(b"Content-Length: 5\r\n", b"hello") + post(b"Content-Length: 5, 6\r\n", b"hello") + get
    yield post(b"Connection: close\r\n") + get
    yield b"POST /private/1 HTTP/1.1\r\nHost: p\r\nContent-Length: <L>\r\n\r\n" + HIDDEN
    yield b"POST /private/1 HTTP/1.1\r\nHost: p\r\n" + CHUNKED + b"\r\n" + HIDDEN_CHUNK
    yield b"POST /private/1 HTTP/1.1\r\nHost: p\r\nExpect: 100-continue\r\nContent-Length: <L>\r\n\r\n" + HIDDEN
    yield b"POST /private/1 HTTP/1.1\r\nHost: p\r\nContent-Length: 1073741824\r\n\r\n" + HIDDEN
    yield b"GET /private/1 HTTP/1.1\r\nHost: p\r\n\r\n" + get
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + get
    yield get + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def left():
    """Requests that a client leaves before they are whole, or before their answer."""
    whole = post(b"Content-Length: 5\r\n", b"hello")
    for length in 1, 10, 30, len(whole) - 6, len(whole) - 5, len(whole) - 1, len(whole):
        yield whole[:length]
    chunked = post(CHUNKED, HELLO)
    for cut in range(1, len(HELLO) + 1):
        yield chunked[:-cut]
    yield post(b"Content-Length: 100\r\n", HIDDEN)
    yield post(b"Content-Length: 100000\r\n", HIDDEN + b"x" * 50000)
    yield post(CHUNKED, b"64\r\n" + HIDDEN)
    yield post(CHUNKED, b"5\r\nhello\r\n0\r\nX-A: 1\r\n")
    yield post(b"Expect: 100-continue\r\nContent-Length: 5\r\n")
    yield whole * 5
