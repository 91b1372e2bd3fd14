"""Posts what the SDKs signed to a gateway of its own: each request is accepted, and the same with one byte flipped is refused.

    post.py prepare MAPPINGS REQUESTS...     writes a partner for each request
    post.py post ADDRESS REQUESTS...         posts them; exits 1 when one is not answered as it should be
"""

import base64
import json
import pathlib
import sys
import urllib.error
import urllib.request

PARTNER = """name = "{vendor}"
owner = "tests"

[signature]
{signature}

[[endpoint]]
secrets = [{{ id = "sdk", from = "file:{secret_file}"{purpose} }}]
{parameters}

[[ignore]]
on = ["*"]
why = "only its signature is looked at here"
{identify}"""


def requests(files):
    return [json.loads(line) for file in files for line in pathlib.Path(file).read_text().splitlines()]


def prepare(mappings, files):
    for request in requests(files):
        folder = pathlib.Path(mappings) / "partners" / request["vendor"]
        folder.mkdir(parents=True)
        secret_file = folder.resolve() / "secret"
        secret_file.write_text(request["secret"])
        parameters = ", ".join(f"{name} = {json.dumps(value)}" for name, value in request.get("parameters", {}).items())
        text = PARTNER.format(
            vendor=request["vendor"],
            signature=request.get("signature") or f'preset = "{request["preset"]}"',
            secret_file=secret_file,
            purpose=f', for = "{request["for"]}"' if "for" in request else "",
            identify=request.get("identify", ""),
            parameters=f"parameters = {{ {parameters} }}" if parameters else "",
        )
        (folder / "partner.toml").write_text(text)


def answer(address, request, body):
    posted = urllib.request.Request(address + request["target"], data=body, headers=request["headers"], method="POST")
    try:
        with urllib.request.urlopen(posted, timeout=10) as reply:
            return reply.status
    except urllib.error.HTTPError as refused:
        return refused.code


def flipped(request, body):
    """The body with the lowest bit of one byte turned: behind `flip`, or in the middle."""
    mark = request.get("flip", "").encode()
    at = body.index(mark) + len(mark) if mark else len(body) // 2
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def post(address, files):
    wrong = 0
    for request in requests(files):
        body = base64.b64decode(request["body"])
        accepted, refused = answer(address, request, body), answer(address, request, flipped(request, body))
        fine = 200 <= accepted < 300 and 400 <= refused < 500
        wrong += not fine
        print(f"{'ok   ' if fine else 'WRONG'} {request['vendor']:24} signed by its SDK: {accepted}   one byte flipped: {refused}")
    return wrong


if __name__ == "__main__":
    verb, where, *files = sys.argv[1:]
    sys.exit(prepare(where, files) if verb == "prepare" else min(post(where, files), 1))
