#!/usr/bin/env python3
"""Writes the signature vectors of every preset but the seven of generate.py, one file a preset.

Each provider's way of signing is written out here by hand (hmac, hashlib, cryptography), from what the provider says of it and without a
look at the preset, so that a mistake in a preset shows. Run it from anywhere; it needs Python 3 and the package `cryptography`. Keys
and times are fixed: the same files come out each time.

A file: preset; public_url and parameters of the endpoint, where the provider signs them; public_keys, true where `secrets` are public
keys, and private_keys, what signs for them, or for published ones, in tests; documents, what a fetch of a URL gives (JWKS,
certificates); vectors. A vector: name, source, secrets (in order), for (which scheme or use each is for, where there are several), now (Unix seconds), method and target where
they are not POST and /in/<preset>, headers (pairs), body (text) or body_base64, expect ("valid", the refusal's code, or "refused" for any)
and, when valid, matches (the place of the secret that made it).

It also writes src/signatures/presets/samples.json: a first delivery of every preset, for `douane partner new`.
"""

import base64
import binascii
import copy
import datetime
import hashlib
import hmac
import json
import pathlib
import re
import unicodedata
import urllib.parse
import zlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

HERE = pathlib.Path(__file__).parent
SELF = "tests/vectors/make.py"
NOW = 1_762_420_801
HOST = "https://hooks.example.com"

RSA_PEM = """-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDJJ5yjqB6U8kfl
/kJDU2NGM0sWG/IIYtgvYEfLNlwsXFCk93wdotioAXRKbi/r2BKWZO0ZDFscBBOH
ySVGXPgt3j6GmCCLgoGs435AvPw08zU50hfSrKNcBA3Y6czWgYq+/GbLn3KrRWRf
i3hKYWy+27FSseA1V2fJTPKKbgcTrSqa8Jr9iQTkzkAfuO4t9uvHn3O2l1zmXaQv
b+R23CbhLUCIKmu32Qiv/Wc5e9snDGOtLkS63QV5Hz9R1NDgAOEEpTVpfA1/XtsT
YcEXC7afsCKvVo5YaGsPrWSdMHsKiaWt/xBYEAdYPpmW8+3wCPK+BG+Z3+7RTpXa
Zp2BqrF/AgMBAAECggEAAWsEEatHu+kRVK+8K9lUo9QMvXUo+aIov/y/xND3SWDF
OMR93X+eY2DPPw8Ty2fUibbgbQLHSaVFtflXB+3z2e7tJenAoPskiuF3rGEorf7g
6y1t+ZA5/pYQuuy7AvAa2EnTN7BCEK8GjB3hlTSmnZnS4DBc0kNxedvPAebQqfTV
WkYU4MGr3GDvshwm9b5Zx/x7lUAmQulhXm7HZdOzH63Sa2dnf/fQUTBwf6ovrZQk
4p7ux0UknAiefbM6edF2P+qhgcoYKkK8uFjdHmRoiZv3Rqc50u6E5NvyVPqQV/a9
7xGjPwzNEaiTn8YcFQ07ZXoRCNFTlXgcREvxuPIt8QKBgQDso2uUtNHAMAAbQAkn
f3IxtQkPp92PmcVu2vAqHjUgjilasdQZ+eN8FPCyISx+SqJoQKuyLglhmaVs7fOF
HMxOUU6QWx3bNkwyu9Jj9xRkG/kU8sseBhQ4vf5Q1P6p1cjgdjELzg/Jj/uzNgLZ
BeJ8C2wxnWkURLFw1+pO6miXRQKBgQDZnPVs4nRuyoctKOnrT5fUe7j8CDmErTVr
vJcYNbB40NQwhG0XWploljKPW4g/EbUVmPCeoNF9ipHpfGqeTKjmKW48pmppf/vz
GbrhanqvmH4LLU440rFiUTfWUR4+oMHvb3QTrFRmiC49u/az2wPcQvYocKC+ZxqF
MyFsBQbf8wKBgAg/OcSY+KZmBdrtRGRoAKbS1FoDU6lphoPyhWQyYU+dJLvQbr/p
AZCVej37Af30w+w2NMWk7RbFsAo30MDW3BfupXpKcqPtJIKwIQjy13cVsnyUaZfG
RnYjyPUwNx/cH4ATHmp25/3yUqdQPpEpr1b7Xu3runnGWxi/rZ7KdJKxAoGBAKcd
k5h33ASNQfwbVHCiIi5KiUf7pPhP8Bt5q+sqqAhQDvPnbsOljvQzjEZte5c7qP4a
Aoc/Z0Hq3Z0aL+K7amW+4WpwPn4gjEMnuk2L8QXSrNE2jMC0hQbE6oWKrBhaajTP
Oaw2BmbrI9/C7nU2t6M6RUHPJJK0KTiriHok7h+jAoGARovNZZdPXoMrpdu8cbTa
KQi71wAApy/WqVjHdvPj7GvPYOhXHIgNk1PEKgcZbOKZy0ArNJON5ilKPpvOGWYN
pvDWmxCI7WW3kwg0Znp+2XtYf1pVB60PbWoeUQVp4chpcX6YPs/jmeBAg/uUoDq/
BGTnu6NTJDZTantn8YClnmI=
-----END PRIVATE KEY-----
"""
OTHER_RSA_PEM = """-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCyMhvFo56akDE1
aHFVG6ht873dUOCKry9PyzRrOVHSzxn6XUsSeloZ+O0q4ohjlFIgv5QmGXFOzeFi
MvQ+vAURuAHjoIvj5H2GbmA66EBqITzuNNgK9Sim9ZA9ynRzTTGxn9rtBgomFP1e
cIAt733he5JwTejiJCEnahGqogt3rSK8jdUT/PQKNVxVRBBVrmb0YVcTNH6LzJly
2mEU0Ln+qIExMxvx0ZyA82b9DibBCRPARJyZPjn85nwIHroM2IALCkkdXRY946x1
KTbXET6rurhf/2vTaPO1C8n4jBd1DiYBNOS5t5OjcUBZz6WFite4p7kqbM2GXooG
Nrlt6CgNAgMBAAECggEAKAJFJwZaFXT7f3TQQV4g3nMD9Z1zlN/JfR5wSgTIIM9c
E1EAComLElrIEUFkgwspt22cO0OqI5npGU28dhtr/fL1BaEl14iVQGom1AMSd2G4
FvmpaihqNLZc6Oq8Y6j419s+4cnh3HQJATu8I9QqTMacdfegKqoXAYz4o3mXnopR
6BLfVeyTNg32CpHOKIIlTt3mwI4v8RUvi64BQ/OQoCXJjncc/Ye4dAyVUFkwCSXs
ZaMBjEUjmX9sP2EWWlHF53Y8UFce6XvJO3R0CnLn7tr2CMoz9ew5p1IyfC/sM9Qi
0IFViwh81HEuF4wWlGiLTM1zigN/Gx3xFEG77/gwBwKBgQDxhS4FK3M3aeTqAgbt
zJKQhTDNTTc1VW2bxqVoAIbzKsiRiEX5n+qDr0LHw8yE+Gm4ljTqu47Uq1zZ/MVk
ezmm6TtD2OPuTvTRyGn6y2JbonuRovWYZ4PQ1+YozOiifdVnJeNnuiJWQv1w5XVa
IMCHLDimExOEFtunR6ZwOim0wwKBgQC84QhmALSEAvK22IsgE7hwP4QWzP45u3q8
+PuI+i1SO4hKiqazJ3c/KvmOUqg6lS/EC8GKZyaQdnJZt2YS+L5poB1DLR4rdpkA
P/bJK20mvDGTAmHEdQjM5EzSTcrAc04876dc7YYE4O0iJG7JcxbRX4+BwCRD1N67
6LaKU8ei7wKBgQCQIkG3lhmZXVneiT0nVym0k7fvHYCwFH5oM6FssrvWjJbLuz6/
XT8wPTymSORaCoHVRdboquvvYSD1epM2hw9927yhneNQyc/zDh6pLA1T0GDcJhtZ
S5Vv4hiaCsdeiaf8ebD/qyZowmvLnzRsiBU91hcsjT/dWWLWrrzWRu+yzwKBgEnN
hIKW8/JBVKWtp285RXBW4T4ni47zetosT90OJHdlW7QEyW5nlWjRWgIKukFp2eg4
z79M3vzDy5rS1sfC+mQ7dDOzhX5mMRKv67ZfiZ8BGj3fSGSDdpTZAEuMqhTY+VFG
M5dUGHH/kaktozyEA/574I9KjOEUZJP4MpuKcQ9xAoGATX4l7uyUDgQikhL5cbCa
cbmZ7E6x1TF0oRzWwSY4dwvydsMcJaj40Brebaas864EXTSLM3le5EWAmRhEsE0s
IEltc9iuKVc5r6rw95UpTCB5ktFff3MH2Ia4RmWiYuNM4/vDkL2n7ktla2ctFUpI
8ODrttuW5N11Honplgr/HCY=
-----END PRIVATE KEY-----
"""


def b64(data):
    return base64.b64encode(data).decode()


def b64u(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def utf8(text):
    return text.encode()


def mac(algorithm, key, message):
    return hmac.new(key, message, algorithm).digest()


def sha256(data):
    return hashlib.sha256(data).digest()


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def form(*pairs):
    return urllib.parse.urlencode(pairs).encode()


def iso(now, fraction=""):
    return datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def rotl(value, by):
    return ((value << by) | (value >> (64 - by))) & (2**64 - 1) if by else value


def keccak256(data):
    """Keccak-256 with the padding of Ethereum, which hashlib has not."""
    offsets = [[0, 36, 3, 41, 18], [1, 44, 10, 45, 2], [62, 6, 43, 15, 61], [28, 55, 25, 21, 56], [27, 20, 39, 8, 14]]
    constants, register = [], 1
    for _ in range(24):
        constant = 0
        for j in range(7):
            if register & 1:
                constant |= 1 << ((1 << j) - 1)
            register = (register << 1) ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    rate = 136
    padded = bytearray(data) + b"\x01" + bytes(-(len(data) + 1) % rate)
    padded[-1] |= 0x80
    state = [[0] * 5 for _ in range(5)]
    for start in range(0, len(padded), rate):
        for lane in range(rate // 8):
            state[lane % 5][lane // 5] ^= int.from_bytes(padded[start + lane * 8:start + lane * 8 + 8], "little")
        for constant in constants:
            parity = [state[x][0] ^ state[x][1] ^ state[x][2] ^ state[x][3] ^ state[x][4] for x in range(5)]
            for x in range(5):
                mixed = parity[(x - 1) % 5] ^ rotl(parity[(x + 1) % 5], 1)
                for y in range(5):
                    state[x][y] ^= mixed
            moved = [[0] * 5 for _ in range(5)]
            for x in range(5):
                for y in range(5):
                    moved[y][(2 * x + 3 * y) % 5] = rotl(state[x][y], offsets[x][y])
            for x in range(5):
                for y in range(5):
                    state[x][y] = moved[x][y] ^ (~moved[(x + 1) % 5][y] & moved[(x + 2) % 5][y] & (2**64 - 1))
            state[0][0] ^= constant
    return b"".join(state[lane % 5][lane // 5].to_bytes(8, "little") for lane in range(4))


assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


class Rsa:
    """An RSA key."""

    def __init__(self, pem):
        self.private = serialization.load_pem_private_key(pem.encode(), None)
        self.pem = self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()

    def public(self, form="pem"):
        return public_text(self.private.public_key(), form)

    def sign(self, message, hash=hashes.SHA256):
        return self.private.sign(message, padding.PKCS1v15(), hash())

    def jwk(self, kid):
        numbers = self.private.public_key().public_numbers()
        size = (numbers.n.bit_length() + 7) // 8
        return {"kty": "RSA", "kid": kid, "use": "sig", "n": b64u(numbers.n.to_bytes(size, "big")), "e": b64u(numbers.e.to_bytes(3, "big"))}


class P256:
    """An ECDSA key on P-256; signatures are deterministic (RFC 6979)."""

    def __init__(self, number):
        self.private = ec.derive_private_key(number, ec.SECP256R1())
        self.pem = self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()

    def public(self, form="pem"):
        return public_text(self.private.public_key(), form)

    def sign(self, message, hash=hashes.SHA256):
        return self.private.sign(message, ec.ECDSA(hash(), deterministic_signing=True))

    def jwk(self, kid):
        numbers = self.private.public_key().public_numbers()
        return {"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "alg": "ES256", "x": b64u(numbers.x.to_bytes(32, "big")), "y": b64u(numbers.y.to_bytes(32, "big"))}


class Ed25519:
    """An Ed25519 key, by its seed."""

    def __init__(self, seed):
        self.pem = seed.hex()
        self.private = ed25519.Ed25519PrivateKey.from_private_bytes(seed)

    def public(self, form):
        raw = self.private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return {"hex": raw.hex(), "base64": b64(raw)}[form]

    def sign(self, message):
        return self.private.sign(message)


class P521:
    """An ECDSA key on P-521; signatures are r and s, 66 bytes each."""

    def __init__(self, number):
        self.private = ec.derive_private_key(number, ec.SECP521R1())
        self.pem = self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()

    def public(self, form="pem"):
        return public_text(self.private.public_key(), form)

    def sign(self, message):
        r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(hashes.SHA512(), deterministic_signing=True)))
        return r.to_bytes(66, "big") + s.to_bytes(66, "big")

    def jwk(self, kid):
        """As TrueLayer publishes them: without the zeros that a coordinate begins with."""
        numbers = self.private.public_key().public_numbers()
        part = lambda number: b64u(number.to_bytes((number.bit_length() + 7) // 8, "big"))
        return {"kty": "EC", "alg": "ES512", "crv": "P-521", "kid": kid, "x": part(numbers.x), "y": part(numbers.y)}


def public_text(key, form):
    if form == "pem":
        return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    return b64(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


RSA_KEY, OTHER_RSA_KEY = Rsa(RSA_PEM), Rsa(OTHER_RSA_PEM)
EC_KEY, OTHER_EC_KEY = P256(0x1D2C3B4A59687786950413223140506F7E8D9CABBAC9D8E7F60514233241506F), P256(0x6F5E4D3C2B1A0918273645546372819FAEBDCCDBEAF90817263544536271809)
P521_KEY, OTHER_P521_KEY = P521(0x1D2C3B4A59687786950413223140506F7E8D9CABBAC9D8E7F60514233241506F), P521(0x6F5E4D3C2B1A0918273645546372819FAEBDCCDBEAF90817263544536271809)
ED_KEY, OTHER_ED_KEY = Ed25519(bytes(range(32))), Ed25519(bytes(range(1, 33)))


def jws(header, payload, sign):
    """A compact JWS."""
    signed = b64u(compact(header)) + "." + b64u(payload if isinstance(payload, bytes) else compact(payload))
    return signed + "." + b64u(sign(signed.encode()))


def hs(key, hash="sha256"):
    return lambda message: mac(hash, key, message)


class Request:
    """What one delivery is made of. `key` signs; `ts` is its time as the provider writes it."""

    def __init__(self, provider, key, now, body):
        self.key, self.now, self.body = key, now, body
        self.ts = provider.time(now) if provider.time else None
        self.method, self.params = "POST", provider.parameters
        self.url = HOST + provider.target
        self.query = dict(urllib.parse.parse_qsl(provider.target.partition("?")[2]))


class Provider:
    """How one provider signs.

    sign(request) is the signature as text; headers(request, signature) what is sent with the body. `key` makes the key of a secret,
    `time` writes the time, `inside` puts the signature into the body where it stands there, `stamp` the time. `published` says which scheme
    beside that of the secret has keys that the provider publishes, and two of those; `unsigned` is the body without what they sign.
    """

    def __init__(self, name, body, sign, headers, *, secret="a text of our own, long enough", wrong="quite another text, as long as that",
                 key=utf8, time=None, tolerance=300, header=None, inside=None, stamp=None, parameters=None, target=None, kind="mac",
                 public=None, private=None, content_type="application/json", url=False, extra=(), tamper=None, uses=None, documents=None,
                 encoding="text", repeats=False, inside_token=False, published=None, unsigned=None):
        self.name, self.body, self.sign, self.make_headers = name, body, sign, headers
        self.secret, self.wrong, self.key, self.time, self.tolerance = secret, wrong, key, time, tolerance
        self.inside, self.stamp, self.parameters = inside, stamp, parameters or {}
        self.target = target or f"/in/{name}"
        self.kind, self.public, self.private, self.content_type = kind, public, private, content_type
        self.url, self.extra, self.tamper, self.uses, self.documents = url, extra, tamper, uses, documents
        self.encoding, self.repeats = encoding, repeats
        self.header, self.inside_token = header, inside_token
        self.published, self.unsigned = published, unsigned

    def request(self, key, now=NOW, body=None):
        """Headers, body and the signature's text."""
        body = self.body if body is None else body
        if self.stamp:
            body = self.stamp(body, self.time(now))
        request = Request(self, key, now, body)
        signature = self.sign(request)
        if self.inside:
            body = self.inside(body, signature)
        if self.inside_token:
            body = signature.encode()
        headers = ([["Content-Type", self.content_type]] if self.content_type else []) + [list(pair) for pair in self.make_headers(request, signature)]
        return headers, body, signature


def other(character):
    """Another character of hex and of base64."""
    return "0" if character != "0" else "1"


def tampered(text):
    """One character of a signature changed, in its middle, where no encoding has rules of its own."""
    at = len(text) // 2
    while not text[at].isalnum():
        at += 1
    return text[:at] + other(text[at]) + text[at + 1:]


def tampered_body(body):
    """One character of the first value changed; it stays the kind of document that it was."""
    found = re.search(rb'": ?"[A-Za-z0-9]|=[A-Za-z0-9]', body)
    at = found.end() - 1
    return body[:at] + (b"Y" if body[at:at + 1] != b"Y" else b"Z") + body[at + 1:]


def vector(provider, name, expect, headers, body, **changes):
    made = {"name": name, "source": SELF, "secrets": [provider.secret] if provider.secret else [], "now": NOW}
    if provider.uses:
        made["for"] = provider.uses
    if provider.target != f"/in/{provider.name}":
        made["target"] = provider.target
    made["headers"] = headers
    try:
        made["body"] = body.decode()
    except UnicodeDecodeError:
        made["body"], made["body_base64"] = "", b64(body)
    made |= {"expect": expect, **changes}
    if expect == "valid":
        made.setdefault("matches", 0 if made["secrets"] else None)
    return made


def with_header(headers, name, change):
    """The headers with one changed: a new value, None for none, a list for several."""
    changed = []
    for known, value in headers:
        values = change(value) if known == name else value
        changed += [[known, value] for value in (values if isinstance(values, list) else [values]) if value is not None]
    return changed


def vectors(provider):
    """The genuine request, and what must be refused, or still hold, of it."""
    key, wrong = provider.private or (provider.key(provider.secret), provider.key(provider.wrong))
    headers, body, signature = provider.request(key)
    case = lambda name, expect, headers=headers, body=body, **changes: vector(provider, name, expect, headers, body, **changes)
    public, jwt, token = provider.kind == "public", provider.kind == "jwt", provider.kind == "token"
    unlike = "refused" if jwt else "signature_mismatch"
    # Base64 of hexadecimal text: what is tampered with is mostly no such text any more.
    spelled = "refused" if provider.name == "solidgate" else unlike

    def replaced(text):
        if provider.inside_token:
            return {"body": text.encode()}
        if provider.inside:
            written = urllib.parse.quote_plus if "urlencoded" in provider.content_type else str
            return {"body": body.replace(written(signature).encode(), written(text).encode())}
        return {"headers": [[name, value.replace(signature, text)] for name, value in headers]}

    def altered(name, expect, text):
        # Where the signature stands in something encoded, the provider's own cases say it.
        changes = replaced(text)
        if changes.get("headers", headers) != headers or changes.get("body", body) != body:
            yield case(name, expect, **changes)

    yield case("genuine", "valid")
    if provider.inside_token:
        head, said, made = signature.split(".")
        said = b64u(re.sub(rb"[Tt]ype", b"tYpe", base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)), count=1))
        yield case("tampered body", unlike, body=f"{head}.{said}.{made}".encode())
    if provider.tamper:
        yield case("tampered body", unlike, body=provider.tamper(body))
    elif provider.tamper is None and not token:
        yield case("tampered body", unlike, body=tampered_body(body))
    if not provider.inside and not provider.inside_token and provider.tamper is None and not token and not provider.stamp:
        # Where nothing stands between body and header, or a field of the body is looked at, only JSON documents count.
        glued = "refused" if provider.name in ("framer", "klaviyo", "adobe-io-events") else unlike
        yield case("body cut short", glued, body=body[:-1])
        yield case("body with a line break more", glued, body=body + b"\n")
    yield from altered("tampered signature", spelled, tampered(signature))
    if provider.secret is not None:
        yield case("wrong secret", unlike, secrets=[provider.wrong])
        yield case("second of two secrets", "valid", secrets=[provider.wrong, provider.secret], matches=1,
                   **({"for": provider.uses * 2} if provider.uses else {}))
    else:
        wrong_headers, wrong_body, _ = provider.request(wrong)
        yield case("signed with another key", unlike, headers=wrong_headers, body=wrong_body)
    if provider.header:
        name = provider.header
        if any(known == name for known, _ in headers):
            yield case("signature missing", "signature_missing", headers=with_header(headers, name, lambda value: None))
            if not provider.repeats:
                yield case("signature twice", "signature_duplicated", headers=with_header(headers, name, lambda value: [value, value]))
                yield case("genuine signature behind a wrong one in a second header", "signature_duplicated",
                           headers=with_header(headers, name, lambda value: [value.replace(signature, tampered(signature)), value]))
            else:
                yield case("genuine signature behind a wrong one in a second header", "valid",
                           headers=with_header(headers, name, lambda value: [value.replace(signature, tampered(signature)), value]))
            # In a list, nothing offers nothing.
            empty = "signature_missing" if provider.name in ("persona", "recurly") else "signature_malformed"
            yield case("signature header empty", "refused" if jwt else empty, headers=with_header(headers, name, lambda value: ""))
    if token:
        yield case("signature cut short", "signature_mismatch", **replaced(signature[:-4]))
    else:
        yield from altered("signature empty", "refused" if jwt or provider.inside else "signature_malformed", "")
        yield from altered("signature cut short", "refused" if jwt or public else "signature_malformed", signature[:-4])
    if provider.encoding == "hex":
        yield case("signature in upper case", "signature_malformed", **replaced(signature.upper()))
        yield case("signature in base64", "signature_malformed", **replaced(b64(bytes.fromhex(signature))))
    if provider.encoding == "base64" and signature.endswith("="):
        yield case("signature without padding", "signature_malformed", **replaced(signature.rstrip("=")))
        loose = signature.rstrip("=")
        pads = signature[len(loose):]
        yield case("signature with bits after its end", "signature_malformed", **replaced(loose[:-1] + chr(ord(loose[-1]) + 1) + pads))
    if provider.time and provider.tolerance:
        late, early = ("refused", "refused") if jwt else ("timestamp_stale", "timestamp_future")
        yield case("as old as is tolerated", "valid", now=NOW + provider.tolerance)
        yield case("stale", late, now=NOW + provider.tolerance + 1)
        if not jwt:
            yield case("as new as is tolerated", "valid", now=NOW - provider.tolerance)
            yield case("future", early, now=NOW - provider.tolerance - 1)
            yield case("a day in the future", early, now=NOW - 86_401)
            yield case("stale and of another secret", "signature_mismatch", now=NOW + 86_402,
                       **({"secrets": [provider.wrong]} if provider.secret is not None else replaced(tampered(signature))))
            stamp, fresh = provider.time(NOW), provider.time(NOW + 600)
            if not provider.stamp:
                brought = [[name, value.replace(stamp, fresh)] for name, value in headers]
                if brought != headers:
                    yield case("time brought up to date", unlike, headers=brought, now=NOW + 600)
    for extra in provider.extra:
        yield from extra(provider, key, wrong, headers, body, signature, case)


def check_names(made):
    names = [one["name"] for one in made]
    assert len(names) == len(set(names)), names


PROVIDERS = []


def provider(*arguments, **named):
    PROVIDERS.append(Provider(*arguments, **named))


# What many providers have in common. Each of these is one sentence of their documentations.


def raw(header, prefix=""):
    """One header with the signature."""
    return lambda request, signature: [[header, prefix + signature]]


def stamped(header, time_header, prefix="", *more):
    """One header with the signature, one with the time."""
    return lambda request, signature: [[header, prefix + signature], [time_header, request.ts], *more]


def pairs(header, time, name, join=","):
    """One header with named pieces."""
    return lambda request, signature: [[header, f"{time}={request.ts}{join}{name}={signature}"]]


def hex_of(algorithm, message):
    return lambda request: mac(algorithm, request.key, message(request)).hex()


def b64_of(algorithm, message):
    return lambda request: b64(mac(algorithm, request.key, message(request)))


def whole(request):
    return request.body


def dotted(request):
    return request.ts.encode() + b"." + request.body


def colon(request):
    return request.ts.encode() + b":" + request.body


def seconds(now):
    return str(now)


def milliseconds(now):
    return f"{now}000"


def hexadecimal(name, header, body, *, prefix="", algorithm="sha256", message=whole, headers=None, **more):
    """HMAC in lower-case hexadecimal, of the raw body where nothing else is said."""
    provider(name, body, hex_of(algorithm, message), headers or raw(header, prefix), header=header, encoding="hex", **more)


def base64_text(name, header, body, *, prefix="", algorithm="sha256", message=whole, headers=None, **more):
    """HMAC in base64, of the raw body where nothing else is said."""
    provider(name, body, b64_of(algorithm, message), headers or raw(header, prefix), header=header, encoding="base64", **more)


def listed(join):
    """While a secret is changed there are two signatures in one header, with `join` between."""
    def extra(provider, key, wrong, headers, body, signature, case):
        double = lambda value: value.replace(signature, tampered(signature) + join + signature)
        yield case("two signatures, the second is genuine", "valid", headers=with_header(headers, provider.header, double))
    return extra


def only_named(name, other_name):
    """Pieces of another name do not count."""
    def extra(provider, key, wrong, headers, body, signature, case):
        change = lambda value: value.replace(f"{name}{'=' if '=' in value else ','}", f"{other_name}{'=' if '=' in value else ','}")
        yield case(f"only {other_name}", "signature_missing", headers=with_header(headers, provider.header, change))
    return extra


def without(name, expect="signature_missing"):
    """A header that is signed, or must have one text, is not there, or another one."""
    def extra(provider, key, wrong, headers, body, signature, case):
        yield case(f"{name} missing", expect, headers=with_header(headers, name, lambda value: None))
        yield case(f"{name} twice", "signature_duplicated", headers=with_header(headers, name, lambda value: [value, value]))
    return extra


def another(name, value, expect):
    def extra(provider, key, wrong, headers, body, signature, case):
        yield case(f"{name}: {value}", expect, headers=with_header(headers, name, lambda _: value))
    return extra


def unicode_body(provider, key, wrong, headers, body, signature, case):
    """Bytes as they came: escapes, letters beyond ASCII, numbers with a zero behind the point, a line break at the end."""
    text = '{"id":"evt_7","type":"t.e","n":1.0,"big":12345678901234567890.50,"s":"Caf\\u00e9 ☕ \\/","x":[ ]}\r\n'.encode()
    made_headers, made, _ = provider.request(key, body=text)
    yield case("a body that no parser would write so", "valid", headers=made_headers, body=made)


# 1.1 Payments, billing, banking

base64_text("square", "x-square-hmacsha256-signature", compact({"merchant_id": "ML1", "type": "payment.created", "event_id": "e1b2c3d4-0001", "created_at": iso(NOW), "data": {"type": "payment", "id": "pay_1"}}),
            message=lambda request: request.url.encode() + request.body, secret="sig_key-7Qn3pXfT0wLd", url=True, extra=[unicode_body])

BRAINTREE_PAYLOAD = base64.encodebytes(b"<notification><timestamp type=\"datetime\">2025-11-06T09:20:01Z</timestamp><kind>subscription_canceled</kind><subject><subscription><id>sub_1</id></subscription></subject></notification>").decode()
provider("braintree", form(("bt_signature", ""), ("bt_payload", BRAINTREE_PAYLOAD)),
         lambda request: mac("sha1", request.key, BRAINTREE_PAYLOAD.encode()).hex(), lambda request, signature: [],
         inside=lambda body, signature: form(("bt_signature", f"integration_public_key|{signature}"), ("bt_payload", BRAINTREE_PAYLOAD)),
         secret="integration_private_key", key=lambda secret: hashlib.sha1(secret.encode()).digest(), content_type="application/x-www-form-urlencoded",
         parameters={"public_key": "integration_public_key"}, encoding="hex",
         tamper=lambda body: body.replace(b"bt_payload=PG5v", b"bt_payload=PG5w"))

hexadecimal("checkout-com", "Cko-Signature", compact({"id": "evt_az5sblvku4ge3dwpztvyizgcau", "type": "payment_approved", "created_on": iso(NOW), "data": {"id": "pay_mbabizu24mvu3mela5njyhpit4", "amount": 6540}}), extra=[unicode_body])


def second_line(provider, key, wrong, headers, body, signature, case):
    yield case("two lines, both wrong", "signature_mismatch",
               headers=with_header(headers, provider.header, lambda value: [value.replace(signature, tampered(signature))] * 2))


hexadecimal("mollie", "X-Mollie-Signature", compact({"resource": "event", "id": "event_GvJ8WHrp5isUdRub9CJyH", "type": "payment-link.paid", "entityId": "pl_qng5gbbv8NAZ5gpM5ZYgx", "createdAt": iso(NOW)}),
            prefix="sha256=", repeats=True, extra=[second_line])
hexadecimal("klarna", "Klarna-Signature", compact({"metadata": {"event_type": "payment.request.state-change.completed", "event_id": "d9f9b1a0-2d5e", "event_version": "v1", "occurred_at": iso(NOW)}, "payload": {"payment_request_id": "krn:payment:eu1:request:1", "state": "COMPLETED"}}),
            headers=lambda request, signature: [["Klarna-Signature", signature], ["Klarna-Signing-Key-Id", "krn:partner:global:notification:signing-key:1"]])
hexadecimal("gocardless", "Webhook-Signature", compact({"events": [{"id": "EV00BD05S5VM2T", "created_at": iso(NOW), "resource_type": "subscriptions", "action": "created", "links": {"subscription": "SB0003JJQ2MR06"}}, {"id": "EV00BD05TB8K63", "created_at": iso(NOW), "resource_type": "mandates", "action": "created", "links": {"mandate": "MD000AMA19XGEC"}}], "meta": {"webhook_id": "WB1"}}))


def plaid_sign(request):
    claims = {"iat": request.now, "request_body_sha256": sha256(request.body).hex()}
    return jws({"alg": "ES256", "kid": "bfbd5111-8e33-4643-8ced-b2e642a72f3c", "typ": "JWT"}, claims, lambda message: raw_ecdsa(request.key, message))


def raw_ecdsa(key, message):
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    r, s = decode_dss_signature(key.sign(message))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def jwt_attacks(secret_is_public):
    """No algorithm, another one, a header that asks for what nobody offers."""
    def extra(provider, key, wrong, headers, body, signature, case):
        head, payload, signed = signature.split(".")
        replaced = lambda text: {"headers": [[name, value.replace(signature, text)] for name, value in headers]} if not provider.inside_token else {"body": text.encode()}
        read = json.loads(base64.urlsafe_b64decode(head + "==="))
        yield case("alg none", "refused", **replaced(b64u(compact(read | {"alg": "none"})) + "." + payload + "."))
        confused = b64u(compact(read | {"alg": "HS256" if secret_is_public else "HS1"})) + "." + payload
        yield case("algorithm of another kind", "refused", **replaced(confused + "." + b64u(mac("sha256", (provider.secret or "x").encode(), confused.encode()))))
        yield case("no signature", "refused", **replaced(head + "." + payload + "."))
        yield case("two parts only", "refused", **replaced(head + "." + payload))
    return extra


provider("plaid", compact({"webhook_type": "TRANSACTIONS", "webhook_code": "SYNC_UPDATES_AVAILABLE", "item_id": "wz666MBjYWTp2PDzzggYhM6oWWmBb", "environment": "production"}).replace(b",", b",\n  "),
         plaid_sign, raw("Plaid-Verification"), header="Plaid-Verification", kind="jwt", time=seconds, tolerance=300,
         secret=json.dumps(EC_KEY.jwk("bfbd5111-8e33-4643-8ced-b2e642a72f3c")), wrong=json.dumps(OTHER_EC_KEY.jwk("another")),
         private=(EC_KEY, OTHER_EC_KEY), public="jwk", parameters={"api_host": "production.plaid.com"}, extra=[jwt_attacks(True)])
provider("wise", compact({"data": {"resource": {"id": 111, "profile_id": 222, "account_id": 333, "type": "transfer"}, "current_state": "processing", "previous_state": "incoming_payment_waiting", "occurred_at": iso(NOW)}, "subscription_id": "01234567-89ab", "event_type": "transfers#state-change", "schema_version": "2.0.0", "sent_at": iso(NOW)}),
         lambda request: b64(request.key.sign(request.body)), lambda request, signature: [["X-Signature-SHA256", signature], ["X-Delivery-Id", "d-1"]],
         header="X-Signature-SHA256", kind="public", secret=RSA_KEY.public(), wrong=OTHER_RSA_KEY.public(), private=(RSA_KEY, OTHER_RSA_KEY), public="pem", extra=[unicode_body])
hexadecimal("razorpay", "X-Razorpay-Signature", compact({"entity": "event", "account_id": "acc_BFQ7uQEaa7j2z7", "event": "payment.authorized", "contains": ["payment"], "payload": {"payment": {"entity": {"id": "pay_DESlfW9H8K9uqM", "order_id": "order_DESlLckIVRkHWj", "amount": 100}}}, "created_at": NOW}),
            headers=lambda request, signature: [["X-Razorpay-Signature", signature], ["x-razorpay-event-id", "DESlr1"]])
hexadecimal("paystack", "x-paystack-signature", compact({"event": "charge.success", "data": {"id": 302961, "status": "success", "reference": "qTPrJoy9Bx", "amount": 10000, "currency": "NGN"}}), algorithm="sha512", secret="sk_live_8f2d0a1c")
base64_text("flutterwave", "flutterwave-signature", compact({"webhook_id": "wbk_xB1p3g5R", "timestamp": NOW * 1000, "type": "charge.completed", "data": {"id": "chg_1", "amount": 200, "reference": "ref-1"}}))
provider("flutterwave-v3", compact({"event": "charge.completed", "data": {"id": 285959875, "tx_ref": "Links-616626414629", "status": "successful", "created_at": iso(NOW)}}),
         lambda request: request.key.decode(), raw("verif-hash"), header="verif-hash", kind="token")


def two_pieces(join, name):
    def extra(provider, key, wrong, headers, body, signature, case):
        double = lambda value: value.replace(f"{name}={signature}", f"{name}={tampered(signature)}{join}{name}={signature}")
        yield case("two signatures, the second is genuine", "valid", headers=with_header(headers, provider.header, double))
    return extra


hexadecimal("paddle", "Paddle-Signature", compact({"event_id": "evt_01hv8x2acma2gz7he8kg9hw6wk", "event_type": "subscription.created", "occurred_at": iso(NOW), "notification_id": "ntf_01hv8x2", "data": {"id": "sub_01hv8x29kz0t586xy6zn1a62ny"}}),
            message=colon, time=seconds, headers=pairs("Paddle-Signature", "ts", "h1", ";"), secret="pdl_ntfset_01hdhpt7_key", extra=[two_pieces(";", "h1"), only_named("h1", "h2"), unicode_body])
hexadecimal("lemon-squeezy", "X-Signature", compact({"meta": {"event_name": "order_created"}, "data": {"type": "orders", "id": "1", "attributes": {"updated_at": iso(NOW)}}}))


def basic_sign(request):
    return b64(request.key)


def basic_extra(provider, key, wrong, headers, body, signature, case):
    yield case("bearer instead", "signature_malformed", headers=with_header(headers, provider.header, lambda value: value.replace("Basic ", "Bearer ")))
    yield case("another user, the same password", "signature_mismatch", headers=with_header(headers, provider.header, lambda value: "Basic " + b64(b"other:" + key.partition(b":")[2])))


def basic(name, body):
    provider(name, body, basic_sign, raw("Authorization", "Basic "), header="Authorization", kind="token", secret="webhook:a pass:word with colons", wrong="webhook:quite another", extra=[basic_extra])


basic("chargebee", compact({"id": "ev_16BHbhF4s42tO2lK", "occurred_at": NOW, "event_type": "subscription_created", "api_version": "v2", "content": {"subscription": {"id": "8avVGOkx8U1MX"}}}))
hexadecimal("recurly", "recurly-signature", compact({"new_subscription_notification": {"account": {"account_code": "1"}, "subscription": {"uuid": "8435b96eb70e5640a0eaf82d0e0d6d", "state": "active"}}}),
            message=dotted, time=milliseconds, headers=lambda request, signature: [["recurly-signature", f"{request.ts},{signature}"]], extra=[listed(","), unicode_body])
hexadecimal("coinbase-commerce", "X-CC-Webhook-Signature", compact({"id": 1, "scheduled_for": iso(NOW), "attempt_number": 1, "event": {"id": "24934862-d980-46cb-9402-43c81b0cdba6", "type": "charge:created", "api_version": "2018-03-22", "created_at": iso(NOW), "data": {"code": "66BEOV2A"}}}))

# 1.2 Developer tools, issue trackers, ops


def whsec(secret):
    return base64.b64decode(secret.removeprefix("whsec_"))


def svix_sign(request):
    return b64(mac("sha256", request.key, b"msg_2b9sJ." + request.ts.encode() + b"." + request.body))


def svix_headers(ident, time, signature_header):
    return lambda request, signature: [[ident, "msg_2b9sJ"], [time, request.ts], [signature_header, "v1," + signature]]


def svix_extra(ident):
    def extra(provider, key, wrong, headers, body, signature, case):
        change = lambda value: "v1," + tampered(signature) + " v1a," + b64(bytes(64)) + " " + value
        yield case("three signatures, the last is genuine", "valid", headers=with_header(headers, provider.header, change))
        yield case("only a public-key signature", "signature_missing", headers=with_header(headers, provider.header, lambda value: "v1a," + b64(bytes(64))))
        yield case("another id", "signature_mismatch", headers=with_header(headers, ident, lambda value: value + "0"))
        yield case("id missing", "signature_missing", headers=with_header(headers, ident, lambda value: None))
        yield case("id twice", "signature_duplicated", headers=with_header(headers, ident, lambda value: [value, "msg_other"]))
    return extra


WHSEC, OTHER_WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + b64(bytes(range(24)))


def standard(name, body, prefix="webhook", names=None, **more):
    ident, time, signature = names or (f"{prefix}-id", f"{prefix}-timestamp", f"{prefix}-signature")
    more = {"secret": WHSEC, "wrong": OTHER_WHSEC, "key": whsec} | more
    extra = [svix_extra(ident), unicode_body] + more.pop("extra", [])
    provider(name, body, svix_sign, svix_headers(ident, time, signature), header=signature, time=seconds, encoding="base64", extra=extra, **more)


GITLAB = compact({"object_kind": "push", "event_name": "push", "project_id": 15, "project": {"id": 15, "name": "Diaspora"}, "ref": "refs/heads/main"})


def gitlab_token(provider, key, wrong, headers, body, signature, case):
    token = [["Content-Type", "application/json"], ["X-Gitlab-Event", "Push Hook"], ["X-Gitlab-Token", "the older secret token"], ["Idempotency-Key", "k-1"]]
    older = {"secrets": ["the older secret token"], "for": ["token"]}
    yield case("the older token alone", "valid", headers=token, **older)
    yield case("another token", "signature_mismatch", headers=token, secrets=["quite another token"], **{"for": ["token"]})
    both = {"secrets": [WHSEC, "the older secret token"], "for": ["signing_token", "token"]}
    yield case("both, the signature is genuine", "valid", headers=headers + token[2:3], **both)
    wrong_signature = with_header(headers, provider.header, lambda value: value.replace(signature, tampered(signature)))
    yield case("both, the signature is wrong: the token does not save it", "signature_mismatch", headers=wrong_signature + token[2:3], **both)
    yield case("neither", "signature_missing", headers=headers[:1], **both)


standard("gitlab", GITLAB, uses=["signing_token"], extra=[gitlab_token])
hexadecimal("bitbucket", "X-Hub-Signature", compact({"repository": {"uuid": "{673a6070}", "full_name": "team/repo"}, "push": {"changes": []}}), prefix="sha256=",
            headers=lambda request, signature: [["X-Hub-Signature", "sha256=" + signature], ["X-Event-Key", "repo:push"], ["X-Request-UUID", "8f0e"]],
            extra=[another("X-Hub-Signature", "sha1=" + "0" * 40, "signature_malformed")])
hexadecimal("jira", "X-Hub-Signature", compact({"webhookEvent": "jira:issue_updated", "timestamp": NOW * 1000, "issue": {"id": "10002", "key": "ED-1"}}), prefix="sha256=",
            headers=lambda request, signature: [["X-Hub-Signature", "sha256=" + signature], ["X-Atlassian-Webhook-Identifier", "id-1"]])
hexadecimal("linear", "Linear-Signature", compact({"action": "create", "type": "Comment", "createdAt": iso(NOW, ".000"), "data": {"id": "2174add1-f7c8"}, "organizationId": "org_1", "webhookId": "wh_1", "webhookTimestamp": "@"}),
            time=milliseconds, tolerance=60, stamp=lambda body, ts: body.replace(b'"@"', ts.encode()))
hexadecimal("notion", "X-Notion-Signature", compact({"id": "367cba44-b6f3", "timestamp": iso(NOW), "workspace_id": "13950b26", "type": "page.created", "entity": {"id": "153104cd", "type": "page"}, "attempt_number": 1, "api_version": "2022-06-28"}), prefix="sha256=", secret="secret_hd5rT3Xk")
hexadecimal("asana", "X-Hook-Signature", compact({"events": [{"user": {"gid": "1"}, "created_at": iso(NOW), "action": "changed", "resource": {"gid": "1337", "resource_type": "task"}}]}), secret="b537207f20cbfa02357cf448134da559")
base64_text("trello", "x-trello-webhook", compact({"action": {"id": "51f9424bcd6e040f3c002412", "type": "updateCard", "date": iso(NOW), "data": {"board": {"id": "4eea4ff"}}}, "model": {"id": "4eea4ff"}}),
            algorithm="sha1", message=lambda request: request.body + request.url.encode(), url=True)
hexadecimal("pagerduty", "X-PagerDuty-Signature", compact({"event": {"id": "5ac64822-4adc", "event_type": "incident.triggered", "occurred_at": iso(NOW), "data": {"id": "PGR0VU2"}}}), prefix="v1=", extra=[two_pieces(",", "v1"), only_named("v1", "v2")])
hexadecimal("sentry", "Sentry-Hook-Signature", compact({"action": "created", "installation": {"uuid": "a8e5d37a"}, "data": {"issue": {"id": "1170820242"}}}),
            headers=lambda request, signature: [["Sentry-Hook-Signature", signature], ["Sentry-Hook-Resource", "issue"], ["Request-ID", "r-1"], ["Sentry-Hook-Timestamp", str(request.now)]])
hexadecimal("circleci", "circleci-signature", compact({"id": "3888f21b-eaa7", "type": "workflow-completed", "happened_at": iso(NOW), "pipeline": {"id": "1285fe1d"}}), prefix="v1=", extra=[only_named("v1", "v2")])
hexadecimal("vercel", "x-vercel-signature", compact({"id": "evt_1", "type": "deployment.created", "createdAt": NOW * 1000, "payload": {"deployment": {"id": "dpl_1"}}}), algorithm="sha1")
hexadecimal("vercel-drains", "x-vercel-signature", compact([{"id": "1573817187330377061717300000", "timestamp": NOW * 1000, "source": "lambda", "projectId": "gdufoJxB6b9b1fEqr1jUtFkyavUU", "deploymentId": "dpl_1", "requestId": "643af4e3", "message": "Hello"}, {"id": "1573817250283254651097202070", "timestamp": NOW * 1000, "source": "static", "projectId": "gdufoJxB6b9b1fEqr1jUtFkyavUU", "deploymentId": "dpl_1"}]),
            algorithm="sha1", parameters={"verify": "6f1e0c3a9b7d42e65f1e0c3a9b7d42e6"}, extra=[unicode_body])
provider("netlify", compact({"id": "5f1e", "state": "ready", "site_id": "site_1", "updated_at": iso(NOW)}),
         lambda request: jws({"alg": "HS256", "typ": "JWT"}, {"iss": "netlify", "sha256": sha256(request.body).hex()}, hs(request.key)),
         lambda request, signature: [["X-Webhook-Signature", signature], ["X-Netlify-Event", "deploy_created"]], header="X-Webhook-Signature", kind="jwt", extra=[jwt_attacks(False)])
base64_text("heroku", "Heroku-Webhook-Hmac-SHA256", compact({"id": "d1", "action": "create", "created_at": iso(NOW), "data": {"id": "rel_1", "app": {"id": "app_1"}}, "version": "application/vnd.heroku+json; version=3", "webhook_metadata": {"attempt": {"id": "a1"}, "delivery": {"id": "d1"}, "event": {"id": "e1", "include": "api:release"}}}))


def contentful_message(request):
    names = "x-contentful-signed-headers,x-contentful-timestamp,x-contentful-topic"
    values = {"x-contentful-signed-headers": names, "x-contentful-timestamp": request.ts, "x-contentful-topic": "ContentManagement.Entry.publish"}
    listed_headers = ";".join(f"{name}:{values[name]}" for name in sorted(values))
    return "\n".join([request.method, urllib.parse.urlparse(request.url).path, listed_headers]).encode() + b"\n" + request.body


hexadecimal("contentful", "x-contentful-signature", compact({"sys": {"type": "Entry", "id": "4Bsy", "revision": 2, "updatedAt": iso(NOW)}}), message=contentful_message, time=milliseconds,
            headers=lambda request, signature: [["x-contentful-topic", "ContentManagement.Entry.publish"], ["x-contentful-timestamp", request.ts],
                                                ["x-contentful-signed-headers", "x-contentful-signed-headers,x-contentful-timestamp,x-contentful-topic"], ["x-contentful-signature", signature]],
            secret="a" * 32 + "b" * 32, url=True, extra=[another("x-contentful-topic", "ContentManagement.Entry.delete", "signature_mismatch"),
                                               another("x-contentful-signed-headers", "x-contentful-timestamp", "refused")])



def qsh(method, path, query=""):
    return sha256(f"{method}&{path}&{query}".encode()).hex()


def connect(key, now, **changes):
    claims = {"iss": "1b2c3d4e-client-key", "iat": now, "exp": now + 180, "qsh": qsh("POST", "/in/jira-connect", "user_id=5b10"), "context": {}}
    return jws({"alg": "HS256", "typ": "JWT"}, claims | changes, hs(key))


def connect_extra(provider, key, wrong, headers, body, signature, case):
    bearing = lambda **changes: {"headers": with_header(headers, "Authorization", lambda _: "JWT " + connect(key, NOW, **changes))}
    yield case("of another path", "claim_mismatch", **bearing(qsh=qsh("POST", "/in/other", "user_id=5b10")))
    yield case("of another query", "claim_mismatch", **bearing(qsh=qsh("POST", "/in/jira-connect")))
    yield case("of another method", "claim_mismatch", **bearing(qsh=qsh("GET", "/in/jira-connect", "user_id=5b10")))
    yield case("of no address", "claim_mismatch", **bearing(qsh="context-qsh"))
    yield case("of another site", "claim_mismatch", **bearing(iss="another-client-key"))
    yield case("ended", "timestamp_stale", **bearing(exp=NOW - 61, iat=NOW - 241))
    yield case("begun in the future", "timestamp_future", **bearing(iat=NOW + 61))
    yield case("another body, which nobody signed", "valid", body=body.replace(b"10002", b"10003"))


provider("jira-connect", compact({"timestamp": NOW * 1000, "webhookEvent": "jira:issue_created", "issue": {"id": "10002", "key": "ED-1"}}), lambda request: connect(request.key, request.now),
         lambda request, signature: [["Authorization", "JWT " + signature], ["X-Atlassian-Webhook-Identifier", "f1a9b6c2"]], header="Authorization", kind="jwt", tamper=False, target="/in/jira-connect?user_id=5b10",
         parameters={"client_key": "1b2c3d4e-client-key"}, extra=[connect_extra, jwt_attacks(False)])

# 1.3 Messaging, collaboration, social


def twilio_message(url, body):
    fields = {}
    for name, value in urllib.parse.parse_qsl(body.decode(), keep_blank_values=True):
        fields.setdefault(name, set()).add(value)
    return url.encode() + "".join(name + value for name in sorted(fields) for value in sorted(fields[name])).encode()


TWILIO = form(("MessageSid", "SM1f0e8ae6ade43cb3c0ce4525424e404f"), ("AccountSid", "AC1"), ("MessageStatus", "delivered"), ("To", "+14155552345"), ("Body", "It's 1+1=2 ☕"), ("Empty", ""))
TWILIO_JSON = compact({"type": "com.twilio.messaging.message.delivered", "id": "EZ1"})


def twilio_json(provider, key, wrong, headers, body, signature, case):
    target = "/in/twilio?bodySHA256=" + sha256(TWILIO_JSON).hex()
    made = [["Content-Type", "application/json"], ["X-Twilio-Signature", b64(mac("sha1", key, (HOST + target).encode()))]]
    as_json = {"for": ["json"], "target": target, "headers": made}
    yield case("JSON, whose digest stands in the URL", "valid", body=TWILIO_JSON, **as_json)
    yield case("JSON, tampered", "refused", body=TWILIO_JSON.replace(b"EZ1", b"EZ2"), **as_json)
    other_target = "/in/twilio?bodySHA256=" + sha256(b"{}").hex()
    yield case("JSON, digest of another body", "signature_mismatch", body=b"{}", **(as_json | {"target": other_target}))
    with_port = [["Content-Type", "application/x-www-form-urlencoded"], ["X-Twilio-Signature", b64(mac("sha1", key, twilio_message("https://hooks.example.com:443/in/twilio", body)))]]
    yield case("signed with the port in the URL", "valid", headers=with_port)
    doubled = body + b"&To=%2B1&To=%2B14155552345"
    yield case("a field that is repeated", "valid", body=doubled,
               headers=[["Content-Type", "application/x-www-form-urlencoded"], ["X-Twilio-Signature", b64(mac("sha1", key, twilio_message(provider_url(provider), doubled)))]])
    elsewhere = [["Content-Type", "application/x-www-form-urlencoded"], ["X-Twilio-Signature", b64(mac("sha1", key, twilio_message("https://other.example.com/in/twilio", body)))]]
    yield case("signed for another host", "signature_mismatch", headers=elsewhere)


def provider_url(provider):
    return HOST + provider.target


def form_tamper(body):
    return tampered_body(body)


provider("twilio", TWILIO, lambda request: b64(mac("sha1", request.key, twilio_message(request.url, request.body))), raw("X-Twilio-Signature"), header="X-Twilio-Signature",
         secret="12345678901234567890123456789012", content_type="application/x-www-form-urlencoded", uses=["form"], url=True, encoding="base64", tamper=form_tamper, extra=[twilio_json])


def plivo_message(url, body, nonce):
    address, _, query = url.partition("?")
    by_name = lambda pairs: sorted(urllib.parse.parse_qsl(pairs, keep_blank_values=True))
    query, fields = "&".join(f"{name}={value}" for name, value in by_name(query)), "".join(name + value for name, value in by_name(body.decode()))
    return f"{address}{'?' if query or fields else ''}{query}{'.' if query and fields else ''}{fields}.{nonce}".encode()


PLIVO = form(("MessageUUID", "db342550-7c9d-11e8-bcb0-0242ac110005"), ("From", "14151234567"), ("To", "14157654321"), ("Status", "delivered"), ("Text", "It's 1+1=2 ☕"), ("Empty", ""))
PLIVO_NONCE = "05429567804466091622"


def plivo_extra(provider, key, wrong, headers, body, signature, case):
    signed = lambda url, body, key=key: b64(mac("sha256", key, plivo_message(url, body, PLIVO_NONCE)))
    by_main = [["Content-Type", provider.content_type], ["X-Plivo-Signature-MA-V3", signature], ["X-Plivo-Signature-V3-Nonce", PLIVO_NONCE]]
    yield case("signed by the main account alone", "valid", headers=by_main)
    both = [["X-Plivo-Signature-V3", signed(HOST + provider.target, body, wrong)]] + by_main
    yield case("signed by a subaccount and the main account", "valid", headers=both)
    target = provider.target + "?b=2&a=1%2B1"
    asked = with_header(headers, "X-Plivo-Signature-V3", lambda _: signed(HOST + target, body))
    yield case("with a query", "valid", target=target, headers=asked)
    yield case("with another query", "signature_mismatch", target=provider.target + "?b=2&a=1", headers=asked)
    elsewhere = with_header(headers, "X-Plivo-Signature-V3", lambda _: signed("https://other.example.com" + provider.target, body))
    yield case("signed for another host", "signature_mismatch", headers=elsewhere)
    yield case("a nonce with a dot", "signature_malformed", headers=with_header(headers, "X-Plivo-Signature-V3-Nonce", lambda value: "x." + value))
    old = [["Content-Type", provider.content_type], ["X-Plivo-Signature-V2", b64(mac("sha256", key, (HOST + provider.target + PLIVO_NONCE).encode()))], ["X-Plivo-Signature-V2-Nonce", PLIVO_NONCE]]
    yield case("only version 2", "signature_missing", headers=old)
    yield case("as JSON", "body_unreadable", headers=with_header(headers, "Content-Type", lambda _: "application/json"))


provider("plivo", PLIVO, lambda request: b64(mac("sha256", request.key, plivo_message(request.url, request.body, PLIVO_NONCE))),
         lambda request, signature: [["X-Plivo-Signature-V3", signature], ["X-Plivo-Signature-V3-Nonce", PLIVO_NONCE]], header="X-Plivo-Signature-V3",
         content_type="application/x-www-form-urlencoded", url=True, encoding="base64", tamper=form_tamper, extra=[plivo_extra, listed(","), without("X-Plivo-Signature-V3-Nonce")])


def ed_sign(message):
    return lambda request: request.key.sign(message(request)).hex()


def glued(request):
    return request.ts.encode() + request.body


DISCORD = {"kind": "public", "time": seconds, "secret": ED_KEY.public("hex"), "wrong": OTHER_ED_KEY.public("hex"), "private": (ED_KEY, OTHER_ED_KEY), "public": "hex",
           "header": "X-Signature-Ed25519", "encoding": "hex"}
provider("discord", compact({"version": 1, "application_id": "1234560123453231555", "type": 1, "event": {"type": "APPLICATION_AUTHORIZED", "timestamp": iso(NOW), "data": {"user": {"id": "1"}}}}),
         ed_sign(glued), stamped("X-Signature-Ed25519", "X-Signature-Timestamp"), extra=[without("X-Signature-Timestamp")], **DISCORD)
provider("discord-interactions", compact({"id": "846462639134605312", "application_id": "1", "type": 2, "channel_id": "c1", "data": {"id": "9", "name": "greet"}, "version": 1}),
         ed_sign(glued), stamped("X-Signature-Ed25519", "X-Signature-Timestamp"), **DISCORD)


def token(name, header, body, **more):
    provider(name, body, lambda request: request.key.decode(), raw(header, more.pop("prefix", "")), header=header, kind="token", **more)


token("telegram", "X-Telegram-Bot-Api-Secret-Token", compact({"update_id": 10000, "message": {"date": NOW, "chat": {"id": 1111111, "type": "private"}, "message_id": 1365, "text": "/start"}}), secret="A_long-secret_token_1", wrong="Another-secret_token_2")
hexadecimal("meta", "X-Hub-Signature-256", compact({"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "changes": [{"field": "messages", "value": {"messages": [{"from": "16505551234", "id": "wamid.1"}]}}]}]}), prefix="sha256=", extra=[unicode_body])
base64_text("line", "x-line-signature", compact({"destination": "U1", "events": [{"type": "message", "webhookEventId": "01FZ74A0TDDPYRVKNK77XKC3ZR", "timestamp": NOW * 1000, "source": {"type": "user", "userId": "U4af4980629"}, "deliveryContext": {"isRedelivery": False}}]}))
base64_text("x", "x-twitter-webhooks-signature", compact({"for_user_id": "2244994945", "tweet_create_events": [{"id_str": "1"}]}), prefix="sha256=")


def twitch_message(request):
    return b"e76c6bd4-55c9-4987-8304-da1588d8988b" + request.ts.encode() + request.body


hexadecimal("twitch", "Twitch-Eventsub-Message-Signature", compact({"subscription": {"id": "f1c2a387", "type": "channel.follow", "version": "2"}, "event": {"user_id": "1234", "broadcaster_user_id": "1337"}}),
            message=twitch_message, time=lambda now: iso(now, ".000000000"), tolerance=600,
            headers=lambda request, signature: [["Twitch-Eventsub-Message-Id", "e76c6bd4-55c9-4987-8304-da1588d8988b"], ["Twitch-Eventsub-Message-Timestamp", request.ts],
                                                ["Twitch-Eventsub-Message-Type", "notification"], ["Twitch-Eventsub-Message-Signature", "sha256=" + signature]],
            extra=[without("Twitch-Eventsub-Message-Id"), another("Twitch-Eventsub-Message-Id", "another", "signature_mismatch")])
hexadecimal("websub", "X-Hub-Signature", compact({"version": "https://jsonfeed.org/version/1.1", "title": "A blog", "home_page_url": "https://blog.example.com/", "items": []}), prefix="sha256=",
            parameters={"topics": "https://blog.example.com/feed.json"}, extra=[another("X-Hub-Signature", "sha1=" + "0" * 40, "signature_malformed")])
YOUTUBE = """<?xml version='1.0' encoding='UTF-8'?>
<feed xmlns:yt="http://www.youtube.com/xml/schemas/2015" xmlns="http://www.w3.org/2005/Atom"><link rel="hub" href="https://pubsubhubbub.appspot.com"/><link rel="self" href="https://www.youtube.com/xml/feeds/videos.xml?channel_id=UC1"/><title>YouTube video feed</title><updated>2026-11-23T12:00:00+00:00</updated><entry><id>yt:video:dQw4w9WgXcQ</id><yt:videoId>dQw4w9WgXcQ</yt:videoId><yt:channelId>UC1</yt:channelId><title>Café ☕</title></entry></feed>
""".encode()
hexadecimal("youtube", "X-Hub-Signature", YOUTUBE, prefix="sha1=", algorithm="sha1", content_type="application/atom+xml", parameters={"topics": "https://www.youtube.com/xml/feeds/videos.xml?channel_id=UC1"},
            tamper=lambda body: body.replace(b"dQw4w9WgXcQ", b"dQw4w9WgXcR"), extra=[another("X-Hub-Signature", "sha256=" + "0" * 64, "signature_malformed")])
hexadecimal("zoom", "x-zm-signature", compact({"event": "meeting.started", "event_ts": NOW * 1000, "payload": {"account_id": "AAAAAABBBB", "object": {"id": "1234567890", "uuid": "4444AAAiAAAAAiAiAiiAii=="}}}),
            message=lambda request: b"v0:" + colon(request), time=seconds, headers=stamped("x-zm-signature", "x-zm-request-timestamp", "v0="), extra=[without("x-zm-request-timestamp"), unicode_body])

# 1.4 CRM, support, forms, documents, storage

HUBSPOT = compact([{"eventId": 1, "subscriptionId": 12345, "portalId": 62515, "occurredAt": NOW * 1000, "subscriptionType": "contact.creation", "attemptNumber": 0, "objectId": 123}])
base64_text("hubspot", "X-HubSpot-Signature-v3", HUBSPOT, message=lambda request: request.method.encode() + request.url.encode() + request.body + request.ts.encode(), time=milliseconds,
            headers=stamped("X-HubSpot-Signature-v3", "X-HubSpot-Request-Timestamp"), url=True, tamper=lambda body: body.replace(b'"objectId":123', b'"objectId":124'),
            secret="yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy")
HUB_V = {"header": "X-HubSpot-Signature", "encoding": "hex", "secret": "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"}
provider("hubspot-v1", HUBSPOT, lambda request: sha256(request.key + request.body).hex(),
         lambda request, signature: [["X-HubSpot-Signature", signature], ["X-HubSpot-Signature-Version", "v1"]], tamper=lambda body: body.replace(b"62515", b"62516"),
         extra=[another("X-HubSpot-Signature-Version", "v2", "signature_malformed")], **HUB_V)
provider("hubspot-v2", compact({"objectId": 123, "objectType": "CONTACT", "portalId": 62515, "s": "x"}), lambda request: sha256(request.key + request.method.encode() + request.url.encode() + request.body).hex(),
         lambda request, signature: [["X-HubSpot-Signature", signature], ["X-HubSpot-Signature-Version", "v2"]], url=True,
         extra=[another("X-HubSpot-Signature-Version", "v1", "signature_malformed")], **HUB_V)
base64_text("zendesk", "X-Zendesk-Webhook-Signature", compact({"id": "cbe4028c-7239-495d-b020-f22348516046", "type": "zen:event-type:user.created", "subject": "zen:user:1234", "time": iso(NOW)}),
            message=lambda request: iso(request.now).encode() + request.body, secret="dGhpc19zZWNyZXRfaXNfZm9yX29uZV9vZl91cw==",
            headers=lambda request, signature: [["X-Zendesk-Webhook-Signature", signature], ["X-Zendesk-Webhook-Signature-Timestamp", iso(request.now)], ["X-Zendesk-Webhook-Invocation-Id", "01HV"]],
            extra=[without("X-Zendesk-Webhook-Signature-Timestamp"), another("X-Zendesk-Webhook-Signature-Timestamp", iso(NOW + 1), "signature_mismatch")])
hexadecimal("intercom", "X-Hub-Signature", compact({"type": "notification_event", "id": "notif_1", "topic": "conversation.user.created", "app_id": "a1", "created_at": NOW, "delivery_attempts": 1, "data": {"item": {"id": "531ee472cce572a6ec000006"}}}), prefix="sha1=", algorithm="sha1")
base64_text("typeform", "Typeform-Signature", compact({"event_id": "LtWXD3crgy", "event_type": "form_response", "form_response": {"form_id": "lT4Z3j", "token": "a3a12ec67a1365927098a606107fac15", "submitted_at": iso(NOW)}}), prefix="sha256=")
hexadecimal("calendly", "Calendly-Webhook-Signature", compact({"event": "invitee.created", "created_at": iso(NOW), "payload": {"uri": "https://api.calendly.com/scheduled_events/A/invitees/B", "scheduled_event": {"uri": "https://api.calendly.com/scheduled_events/A"}}}),
            message=dotted, time=seconds, tolerance=180, headers=pairs("Calendly-Webhook-Signature", "t", "v1"), extra=[only_named("v1", "v0")])


def docusign_extra(provider, key, wrong, headers, body, signature, case):
    yield case("two keys, the second header is genuine", "valid", headers=[["X-DocuSign-Signature-1", tampered(signature)], ["X-DocuSign-Signature-2", signature]])
    yield case("the hundredth key", "valid", headers=[[f"X-DocuSign-Signature-{n}", signature if n == 100 else tampered(signature)] for n in range(1, 101)])
    yield case("no number", "signature_missing", headers=[["X-DocuSign-Signature-x", signature]])
    yield case("no signature", "signature_missing", headers=headers[:1])


base64_text("docusign", None, compact({"event": "envelope-completed", "apiVersion": "v2.1", "retryCount": 0, "generatedDateTime": iso(NOW, ".1234567"), "data": {"accountId": "a", "envelopeId": "e"}}), headers=raw("X-DocuSign-Signature-1"), extra=[docusign_extra])
hexadecimal("dropbox", "X-Dropbox-Signature", compact({"list_folder": {"accounts": ["dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc"]}, "delta": {"users": [12345678]}}), tamper=lambda body: body.replace(b"AAH4", b"AAH5"))

DROPBOX_SIGN = {"event": {"event_type": "signature_request_signed", "event_time": str(NOW), "event_hash": "@", "event_metadata": {"related_signature_id": "s1"}}, "signature_request": {"signature_request_id": "fa5c8a0b0f492d768749333ad6fcc214c111e967"}}
DROPBOX_SIGN_BODY = (b"--xYzZY\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n" + compact(DROPBOX_SIGN) + b"\r\n--xYzZY--\r\n")
provider("dropbox-sign", DROPBOX_SIGN_BODY, lambda request: mac("sha256", request.key, (str(request.now) + "signature_request_signed").encode()).hex(), lambda request, signature: [],
         inside=lambda body, signature: body.replace(b'"@"', json.dumps(signature).encode()), content_type="multipart/form-data; boundary=xYzZY", encoding="hex",
         tamper=lambda body: body.replace(b"signature_request_signed", b"signature_request_signee"), time=seconds, tolerance=86_400)


def box_message(request):
    return request.body + request.ts.encode()


def box_extra(provider, key, wrong, headers, body, signature, case):
    rest = [pair for pair in headers if not pair[0].startswith("box-signature-primary")]
    yield case("the secondary header alone", "valid", headers=rest + [["box-signature-secondary", signature]])
    yield case("the primary is wrong, the secondary genuine", "valid", headers=rest + [["box-signature-primary", tampered(signature)], ["box-signature-secondary", signature]])
    yield case("another version", "signature_malformed", headers=with_header(headers, "box-signature-version", lambda _: "2"))
    yield case("another algorithm", "signature_malformed", headers=with_header(headers, "box-signature-algorithm", lambda _: "HmacSHA1"))
    yield case("no version", "refused", headers=with_header(headers, "box-signature-version", lambda _: None))


base64_text("box", "box-signature-primary", compact({"type": "webhook_event", "id": "0f1e2d3c", "created_at": iso(NOW), "trigger": "FILE.UPLOADED", "webhook": {"id": "1234567890"}, "source": {"id": "1234567890", "type": "file"}}), message=box_message,
            time=lambda now: datetime.datetime.fromtimestamp(now, datetime.timezone(datetime.timedelta(hours=-7))).strftime("%Y-%m-%dT%H:%M:%S") + "-07:00", tolerance=600,
            headers=lambda request, signature: [["box-signature-primary", signature], ["box-delivery-id", "d-1"], ["box-delivery-timestamp", request.ts], ["box-signature-version", "1"], ["box-signature-algorithm", "HmacSHA256"]],
            extra=[box_extra], secret="SamplePrimaryKey", wrong="SampleOtherKey12")
hexadecimal("airtable", "X-Airtable-Content-MAC", compact({"base": {"id": "app00000000000000"}, "webhook": {"id": "ach00000000000000"}, "timestamp": iso(NOW, ".000")}), prefix="hmac-sha256=",
            secret=b64(b"an airtable mac secret, 32 bytes"), wrong=b64(b"one more airtable secret, 32 byt"), key=base64.b64decode)


def monday_sign(url):
    return lambda request: jws({"alg": "HS256", "typ": "JWT"}, {"accountId": 1825528, "userId": 4012689, "aud": url, "exp": request.now + 300, "iat": request.now, "shortLivedToken": "slt"}, hs(request.key))


def monday_extra(provider, key, wrong, headers, body, signature, case):
    yield case("with Bearer", "valid", headers=with_header(headers, "Authorization", lambda value: "Bearer " + value))
    elsewhere = monday_sign("https://hooks.example.com/in/other")(Request(provider, key, NOW, body))
    yield case("for another URL", "refused", headers=with_header(headers, "Authorization", lambda _: elsewhere))
    yield case("expired", "refused", now=NOW + 86_400)
    yield case("the body is not bound", "valid", body=body.replace(b"create_pulse", b"delete_pulse"))


provider("monday", compact({"event": {"userId": 9603417, "boardId": 1771812698, "pulseId": 1772099344, "type": "create_pulse", "triggerTime": iso(NOW), "triggerUuid": "bf9a"}}),
         monday_sign(HOST + "/in/monday"), raw("Authorization"), header="Authorization", kind="jwt", url=True, tamper=False, extra=[monday_extra, jwt_attacks(False)])

# 1.5 Commerce, shipping, accounting

base64_text("woocommerce", "X-WC-Webhook-Signature", compact({"id": 118, "status": "processing", "total": "9.00"}),
            headers=lambda request, signature: [["X-WC-Webhook-Signature", signature], ["X-WC-Webhook-Topic", "order.updated"], ["X-WC-Webhook-Resource", "order"], ["X-WC-Webhook-Delivery-ID", "a1b2"]])
standard("bigcommerce", compact({"scope": "store/order/created", "store_id": "1025646", "data": {"type": "order", "id": 250}, "hash": "dd70c0976e06b67aaf671e73f49dcb79230ebf9d", "created_at": NOW, "producer": "stores/2"}), secret="hzxgbi6lbyh3i1wa2a9c9hcqrl5x2uk", wrong="hzxgbi6lbyh3i1wa2a9c9hcqrl5x2ul", key=utf8)
provider("adobe-commerce", compact({"event_type": "observer.catalog_product_save_after", "product": {"sku": "24-MB01"}}), lambda request: b64(request.key.sign(base64.b64encode(request.body))), raw("x-adobe-commerce-webhook-signature"),
         header="x-adobe-commerce-webhook-signature", kind="public", secret=RSA_KEY.public(), wrong=OTHER_RSA_KEY.public(), private=(RSA_KEY, OTHER_RSA_KEY), public="pem")
base64_text("xero", "x-xero-signature", compact({"events": [{"resourceId": "717f2bfc", "eventDateUtc": "2025-11-06T09:20:01.123", "eventType": "Update", "eventCategory": "INVOICE", "tenantId": "c2cc9b6e"}], "firstEventSequence": 1, "lastEventSequence": 1, "entropy": "S0m3r4Nd0mt3xt"}))
base64_text("quickbooks", "intuit-signature", compact([{"specversion": "1.0", "id": "88cd52aa", "source": "intuit.dsnBgbseACLLRZNxo2dfc4evmEJdxde58xeeYcZliOU=", "type": "qbo.customer.created.v1", "time": iso(NOW), "intuitentityid": "1234", "intuitaccountid": "310687"}]))
base64_text("quickbooks-legacy", "intuit-signature", compact({"eventNotifications": [{"realmId": "1185883450", "dataChangeEvent": {"entities": [{"name": "Customer", "id": "1", "operation": "Create", "lastUpdated": iso(NOW)}]}}]}))
hexadecimal("easypost", "X-Hmac-Signature", compact({"id": "evt_1", "object": "Event", "description": "tracker.updated", "created_at": iso(NOW), "status": "pending", "result": {"id": "trk_1", "weight": 614.4}}), prefix="hmac-sha256-hex=",
            secret="sécret ﬁve", wrong="secret five", key=lambda secret: unicodedata.normalize("NFKD", secret).encode(), extra=[unicode_body])
hexadecimal("shippo", "Shippo-Auth-Signature", compact({"event": "track_updated", "data": {"tracking_number": "9205590164917312751089", "tracking_status": {"status_date": iso(NOW)}}}), message=dotted, time=seconds, headers=pairs("Shippo-Auth-Signature", "t", "v1"))
base64_text("fedex", "fdx-signature", compact({"trackingNumber": "794887075005", "status": "DL"}))

# 1.6 Identity, compliance, web3, realtime

standard("svix", compact({"type": "invoice.paid", "data": {"id": "1f81eb52"}}), "svix")
standard("clerk", compact({"type": "user.created", "object": "event", "timestamp": NOW * 1000, "data": {"id": "user_29w83sxmDNGwOuEthce5gg56FcC"}}), "svix")
standard("resend", compact({"type": "email.sent", "created_at": iso(NOW), "data": {"email_id": "56761188-7520"}}), "svix")


def openai_text(provider, key, wrong, headers, body, signature, case):
    plain = "no prefix, so it is text"
    made, _, _ = provider.request(plain.encode())
    yield case("a secret without a prefix is text", "valid", secrets=[plain], headers=made)


standard("openai", compact({"id": "evt_685343a1381c819085d44c354e1b330e", "object": "event", "created_at": NOW, "type": "response.completed", "data": {"id": "resp_1"}}), extra=[openai_text])
standard("polar", compact({"type": "order.paid", "timestamp": iso(NOW), "data": {"id": "ord_1", "customer_id": "cus_1"}}), secret="polar_whs_x3Jd9Qm2", wrong="polar_whs_other9Qm2", key=utf8)
standard("finch", compact({"event_type": "employment.created", "company_id": "720be419", "connection_id": "c1", "data": {"individual_id": "i1"}}), names=("Finch-Event-Id", "Finch-Timestamp", "Finch-Signature"), secret=WHSEC[6:], wrong=OTHER_WHSEC[6:])
standard("brex", compact({"event_type": "TRANSFER_PROCESSED", "transfer_id": "t1", "company_id": "c1"}), secret=WHSEC[6:], wrong=OTHER_WHSEC[6:])
standard("replicate", compact({"id": "ufawqhfynnddngldkgtslldrkq", "version": "5c7d5dc6", "status": "succeeded", "completed_at": iso(NOW)}))
standard("increase", compact({"id": "event_001dzz0r20rzr4zrhrr1364hy80", "associated_object_id": "account_1", "associated_object_type": "account", "category": "account.created", "created_at": iso(NOW), "type": "event"}))
hexadecimal("workos", "WorkOS-Signature", compact({"id": "event_01FKJ843CVE8F7BXQSPFH0M53V", "event": "dsync.user.created", "created_at": iso(NOW), "data": {"id": "directory_user_1", "directory_id": "directory_1", "n": 1}}).replace(b'"n":1', b'"n":1.0'),
            message=dotted, time=milliseconds, tolerance=180, headers=pairs("WorkOS-Signature", "t", "v1", ", "))
token("okta", "Authorization", compact({"eventType": "com.okta.event_hook", "eventTypeVersion": "1.0", "eventId": "b5a188b9", "data": {"events": [{"uuid": "fa3b4a3c", "published": iso(NOW), "eventType": "user.lifecycle.create", "actor": {"id": "a1"}, "target": [{"id": "u1"}]}]}}))
token("auth0", "Authorization", compact([{"log_id": "90020211", "data": {"date": iso(NOW), "type": "s", "client_id": "c1", "user_id": "auth0|1"}}]))


def persona_extra(provider, key, wrong, headers, body, signature, case):
    group = dict(headers)["Persona-Signature"]
    yield case("two groups, the second is genuine", "valid", headers=with_header(headers, "Persona-Signature", lambda value: value.replace(signature, tampered(signature)) + " " + value))
    later = provider.request(wrong, now=NOW + 100)[0][1][1]
    mixed = later.split(",")[0] + "," + group.split(",")[1]
    yield case("the time of one group, the signature of another", "signature_mismatch", headers=with_header(headers, "Persona-Signature", lambda value: later + " " + mixed))


hexadecimal("persona", "Persona-Signature", compact({"data": {"type": "event", "id": "evt_XGuXQPDXVHPkBxNGHjTQF4Rz", "attributes": {"name": "inquiry.completed", "created-at": iso(NOW), "payload": {"data": {"id": "inq_1"}}}}}), message=dotted, time=seconds,
            headers=pairs("Persona-Signature", "t", "v1"), extra=[persona_extra])
hexadecimal("onfido", "X-SHA2-Signature", compact({"payload": {"resource_type": "check", "action": "check.completed", "object": {"id": "12345-23122-32123", "status": "complete", "completed_at_iso8601": iso(NOW)}}}))
hexadecimal("alchemy", "X-Alchemy-Signature", compact({"webhookId": "wh_octjglnywaupz6th", "id": "whevt_ogrc5v64myey69ux", "createdAt": iso(NOW), "type": "ADDRESS_ACTIVITY", "event": {"network": "ETH_MAINNET", "activity": []}}))
base64_text("ably", "X-Ably-Signature", compact({"items": [{"webhookId": "ABcDEf", "source": "channel.message", "serial": "a7bcdEFghIjklm123456789:4", "timestamp": NOW * 1000, "name": "channel.message", "data": {"channelId": "education", "messages": [{"id": "vjzxPR-XK3:3:0"}]}}]}),
            headers=lambda request, signature: [["X-Ably-Signature", signature], ["X-Ably-Key", "appid.keyid"]])
hexadecimal("pusher", "X-Pusher-Signature", compact({"time_ms": NOW * 1000, "events": [{"name": "channel_occupied", "channel": "my-channel"}]}), headers=lambda request, signature: [["X-Pusher-Signature", signature], ["X-Pusher-Key", "123456789"]], secret="tofu-and-green-tea")


def certificate(subject, key, issuer=None, signer=None, ca=False):
    """A certificate that is the same each time: fixed serial, fixed dates, a signature without randomness."""
    name = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
    made = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer or subject)).public_key(key.private.public_key())
    made = made.serial_number(int.from_bytes(sha256(subject.encode())[:8], "big")).not_valid_before(datetime.datetime(2025, 1, 1)).not_valid_after(datetime.datetime(2045, 1, 1))
    made = made.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if not ca:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
    return made.sign((signer or key).private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


CA_CERTIFICATE = certificate("Vectors Root", OTHER_RSA_KEY, ca=True)
SNS_URL = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-vectors.pem"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:orders"


def sns(fields):
    order = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"] if fields["Type"] == "Notification" else \
        ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    return "".join(f"{name}\n{fields[name]}\n" for name in order if name in fields).encode()


def sns_body(**changes):
    fields = {"Type": "Notification", "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": TOPIC, "Message": '{"order":1,\n"note":"a line\nmore"}', "Timestamp": iso(NOW, ".123"), "SignatureVersion": "2", "SigningCertURL": SNS_URL}
    return {name: value for name, value in (fields | changes).items() if value is not None}


def sns_signed(key, **changes):
    fields = sns_body(**changes)
    return compact(fields | {"Signature": b64(key.sign(sns(fields)))})


def sns_extra(provider, key, wrong, headers, body, signature, case):
    yield case("with a subject", "valid", body=sns_signed(key, Subject="An order"))
    confirmation = {"Type": "SubscriptionConfirmation", "Token": "2336412f37", "SubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37"}
    yield case("confirmation of a subscription", "valid", body=sns_signed(key, **confirmation))
    yield case("another topic, as genuine", "refused", body=sns_signed(key, TopicArn=TOPIC + "2"))
    yield case("version 1 (SHA-1)", "refused", body=compact(sns_body(SignatureVersion="1") | {"Signature": b64(key.sign(sns(sns_body()), hashes.SHA1))}))
    for url in ("https://sns.eu-central-1.amazonaws.com.evil.example/x.pem", "http://sns.eu-central-1.amazonaws.com/x.pem", "https://bucket.s3.amazonaws.com/sns.pem", "https://sns.eu-central-1.amazonaws.com@evil.example/x.pem"):
        yield case(f"certificate at {url}", "refused", body=sns_signed(key, SigningCertURL=url))
    yield case("a key stands twice", "refused", body=body.replace(b'"Message":', b'"Message":"x","Message":', 1))


provider("aws-sns", compact(sns_body() | {"Signature": "@"}), lambda request: b64(request.key.sign(sns(sns_body()))), lambda request, signature: [["x-amz-sns-message-type", "Notification"]],
         inside=lambda body, signature: body.replace(b'"@"', json.dumps(signature).encode()), kind="public", secret=None, private=(RSA_KEY, OTHER_RSA_KEY), parameters={"topic_arn": TOPIC}, content_type="text/plain; charset=UTF-8",
         tamper=lambda body: body.replace(b"a line", b"one line"), documents={SNS_URL: certificate("sns.amazonaws.com", RSA_KEY, "Vectors Root", OTHER_RSA_KEY)}, extra=[sns_extra])

PAYPAL_URL = "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-vectors"
PAYPAL = compact({"id": "WH-58D329510W468432D-8HN650336L201105X", "event_version": "1.0", "create_time": iso(NOW), "event_type": "PAYMENT.CAPTURE.COMPLETED", "resource": {"id": "27M47624FP291604U"}})


def paypal_sign(request):
    return b64(request.key.sign(f"db49fb10-1343|{iso(request.now)}|1JE4291016473214C|{zlib.crc32(request.body)}".encode()))


def paypal_headers(request, signature):
    return [["PAYPAL-TRANSMISSION-ID", "db49fb10-1343"], ["PAYPAL-TRANSMISSION-TIME", iso(request.now)], ["PAYPAL-AUTH-ALGO", "SHA256withRSA"], ["PAYPAL-CERT-URL", PAYPAL_URL], ["PAYPAL-TRANSMISSION-SIG", signature]]


def paypal_extra(provider, key, wrong, headers, body, signature, case):
    yield case("another algorithm", "refused", headers=with_header(headers, "PAYPAL-AUTH-ALGO", lambda _: "SHA1withRSA"))
    for url in ("https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1", "http://api.paypal.com/v1/notifications/certs/CERT-1", "https://api.paypal.com/v1/other/CERT-1", "https://evil@api.paypal.com/v1/notifications/certs/CERT-1", "https://api.paypal.com:8443/v1/notifications/certs/CERT-1"):
        yield case(f"certificate at {url}", "refused", headers=with_header(headers, "PAYPAL-CERT-URL", lambda _, url=url: url))


ADOBE_PATH = "/prod/keys/pub-key-lyTiz3gQe4.pem"
ADOBE = compact({"specversion": "1.0", "id": "83b0eac0-7e46-4e2a-8c44-1c2d6a5a1d7e", "source": "acct:aem-p46652-e1074060@adobe.com", "type": "aem.assets.asset.created", "datacontenttype": "application/json", "time": iso(NOW), "event_id": "18abfb47-d24a-4684-ade8-f442a3444033", "recipient_client_id": "606d4074c7ea4962aaf3bc2a5ac3b7f9", "data": {"path": "/content/dam/x"}})


def adobe_headers(request, signature):
    second = b64(OTHER_RSA_KEY.sign(b"second:" + request.body))
    return [["x-adobe-digital-signature-1", signature], ["x-adobe-public-key1-path", ADOBE_PATH], ["x-adobe-digital-signature-2", second],
            ["x-adobe-public-key2-path", "/prod/keys/pub-key-kruhWwu4Or.pem"], ["x-adobe-event-id", "b555a1b1"]]


def adobe_extra(provider, key, wrong, headers, body, signature, case):
    theirs = body.replace(b"606d4074", b"706d4074")
    made, _, _ = provider.request(key, body=theirs)
    yield case("an event for another client, as genuine", "refused", headers=made, body=theirs)
    made, _, _ = provider.request(key, body=b'{"event_id":"1"}')
    yield case("an event for nobody, as genuine", "refused", headers=made, body=b'{"event_id":"1"}')
    for path in ("@attacker.example/prod/keys/pub-key-a.pem", ".attacker.example/prod/keys/pub-key-a.pem", ":8443/prod/keys/pub-key-a.pem", "//attacker.example/prod/keys/pub-key-a.pem",
                 "https://attacker.example/prod/keys/pub-key-a.pem", "/prod/keys/../../pub-key-a.pem", "/stage/keys/pub-key-a.pem", "/prod/keys/pub-key-a.pem?x=/pub-key-b.pem", ""):
        yield case(f"key at {path}", "refused", headers=with_header(headers, "x-adobe-public-key1-path", lambda _, path=path: path))


provider("adobe-io-events", ADOBE, lambda request: b64(request.key.sign(request.body)), adobe_headers, header="x-adobe-digital-signature-1", kind="public", secret=None, private=(RSA_KEY, OTHER_RSA_KEY),
         parameters={"client_id": "606d4074c7ea4962aaf3bc2a5ac3b7f9"}, documents={"https://static.adobeioevents.com" + ADOBE_PATH: RSA_KEY.public()}, encoding="base64", extra=[adobe_extra, without("x-adobe-public-key1-path")])

provider("paypal", PAYPAL, paypal_sign, paypal_headers, header="PAYPAL-TRANSMISSION-SIG", kind="public", secret=None, private=(RSA_KEY, OTHER_RSA_KEY), parameters={"webhook_id": "1JE4291016473214C"},
         documents={PAYPAL_URL: certificate("messageverificationcerts.paypal.com", RSA_KEY, "Vectors Root", OTHER_RSA_KEY)}, extra=[paypal_extra, without("PAYPAL-TRANSMISSION-ID")])


def rs256(key, hash=hashes.SHA256):
    return lambda message: key.sign(message, hash)


def pubsub_claims(now, **changes):
    return {"aud": "https://hooks.example.com/in/google-pubsub", "azp": "113774264463038321964", "email": "push@example.iam.gserviceaccount.com", "email_verified": True, "exp": now + 3600, "iat": now, "iss": "https://accounts.google.com"} | changes


def pubsub_sign(request, **changes):
    return jws({"alg": "RS256", "kid": "google-1", "typ": "JWT"}, pubsub_claims(request.now, **changes), rs256(request.key))


def pubsub_extra(provider, key, wrong, headers, body, signature, case):
    request = Request(provider, key, NOW, body)
    bearer = lambda text: with_header(headers, "Authorization", lambda _: "Bearer " + text)
    for name, changes in [("another audience", {"aud": "https://hooks.example.com/in/other"}), ("another sender", {"email": "push@evil.iam.gserviceaccount.com"}), ("not verified", {"email_verified": False}),
                          ("another issuer", {"iss": "https://accounts.google.com.evil.example"}), ("no audience", {"aud": None})]:
        yield case(name, "refused", headers=bearer(pubsub_sign(request, **changes)))
    yield case("expired", "refused", now=NOW + 86_400)
    unknown = jws({"alg": "RS256", "kid": "google-9", "typ": "JWT"}, pubsub_claims(NOW), rs256(key))
    yield case("a key that nobody has", "refused", headers=bearer(unknown))
    yield case("the body is not bound", "valid", body=body.replace(b"136969346945", b"136969346946"))


provider("google-pubsub", compact({"message": {"attributes": {"eventType": "OBJECT_FINALIZE"}, "data": "SGVsbG8gQ2xvdWQgUHViL1N1YiE=", "messageId": "136969346945", "publishTime": iso(NOW)}, "subscription": "projects/myproject/subscriptions/mysubscription"}),
         pubsub_sign, raw("Authorization", "Bearer "), header="Authorization", kind="jwt", secret=None, private=(RSA_KEY, OTHER_RSA_KEY), tamper=False,
         parameters={"audience": "https://hooks.example.com/in/google-pubsub", "email": "push@example.iam.gserviceaccount.com"},
         documents={"https://www.googleapis.com/oauth2/v3/certs": json.dumps({"keys": [RSA_KEY.jwk("google-1")]})}, extra=[pubsub_extra, jwt_attacks(True)])
token("azure-event-grid", "x-webhook-secret", compact([{"id": "831e1650", "topic": "/subscriptions/s", "subject": "blobServices/default", "eventType": "Microsoft.Storage.BlobCreated", "eventTime": iso(NOW), "data": {}, "dataVersion": "1"}]))
token("azure-event-grid-cloudevents", "x-webhook-secret", compact({"id": "9aeb0fdf", "source": "/subscriptions/s", "specversion": "1.0", "type": "Microsoft.Storage.BlobCreated", "subject": "blob", "time": iso(NOW), "data": {}}))


def graph_extra(provider, key, wrong, headers, body, signature, case):
    items = json.loads(body)["value"]
    yield case("one of two items shows another state", "signature_mismatch", body=compact({"value": items[:1] + [items[0] | {"clientState": "quite another"}]}))
    yield case("one of two items shows none", "signature_missing", body=compact({"value": items[:1] + [{"subscriptionId": "s"}]}))
    yield case("no items", "signature_missing", body=compact({"value": []}))


provider("microsoft-graph", compact({"value": [{"subscriptionId": "7f105c7d", "clientState": "@", "changeType": "created", "resource": "users/1/messages/2", "resourceData": {"@odata.etag": "W/1", "id": "2"}},
                                               {"subscriptionId": "7f105c7d", "clientState": "@", "changeType": "updated", "resource": "users/1/messages/3", "resourceData": {"id": "3"}}]}),
         lambda request: request.key.decode(), lambda request, signature: [], inside=lambda body, signature: body.replace(b'"@"', json.dumps(signature).encode()), kind="token", extra=[graph_extra])

GRAPH_APP, GRAPH_TENANT, GRAPH_SENDER = "8e460676-ae3f-4b1e-8790-ee0fb5d6148f", "84bd8158-6d4d-4958-8b9f-9d6445542f95", "0bf30f3b-4a52-48df-9a82-234910c4a086"


def entra(key=RSA_KEY, sign=None, head=None, **changes):
    claims = {"aud": GRAPH_APP, "iss": f"https://sts.windows.net/{GRAPH_TENANT}/", "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 28_800, "appid": GRAPH_SENDER, "tid": GRAPH_TENANT, "ver": "1.0"} | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jws({"alg": "RS256", "kid": "entra-1", "typ": "JWT"} | (head or {}), claims, sign or key.sign)


def graph_rich(*tokens):
    encrypted = {"data": "kxLmbWJl", "dataKey": "Rd8hPQ==", "dataSignature": "1zgF", "encryptionCertificateId": "c-1"}
    return compact({"value": [{"subscriptionId": "76222963", "clientState": "@", "changeType": "created", "resource": "teams('1')/channels('2')/messages('3')", "resourceData": {"id": "3"}, "encryptedContent": encrypted}], "validationTokens": list(tokens)})


def graph_rich_extra(provider, key, wrong, headers, body, signature, case):
    shown = lambda made, state=signature: {"body": made.replace(b'"@"', json.dumps(state).encode())}
    bearing = lambda **changes: shown(graph_rich(entra(**changes)))
    yield case("tampered body, which nobody signed", "valid", body=body.replace(b"created", b"updated"))
    yield case("signature empty", "refused", **shown(provider.body, ""))
    yield case("a token of version 2", "valid", **bearing(appid=None, azp=GRAPH_SENDER, ver="2.0", iss=f"https://login.microsoftonline.com/{GRAPH_TENANT}/v2.0"))
    yield case("no token", "signature_missing", **shown(graph_rich()))
    yield case("two tokens", "signature_duplicated", **shown(graph_rich(entra(), entra())))
    yield case("a token that is no text", "signature_malformed", **shown(graph_rich(7)))
    yield case("a token for another app", "claim_mismatch", **bearing(aud="another"))
    yield case("a token of another tenant", "claim_mismatch", **bearing(tid="another"))
    yield case("a token that another app got", "claim_mismatch", **bearing(appid="another"))
    yield case("a token that another app got, and says otherwise", "claim_mismatch", **bearing(azp="another"))
    yield case("a token that nobody got", "claim_mismatch", **bearing(appid=None))
    yield case("a token that ended", "timestamp_stale", **bearing(exp=NOW - 61))
    yield case("a token of another key", "signature_mismatch", **bearing(key=OTHER_RSA_KEY))
    yield case("a token of a key that nobody has", "refused", **bearing(head={"kid": "entra-9"}))
    yield case("a token with alg none", "refused", **bearing(head={"alg": "none"}))
    yield case("a token signed with the public key", "refused", **bearing(head={"alg": "HS256"}, sign=hs(RSA_KEY.public().encode())))


provider("microsoft-graph-rich", graph_rich(entra()), lambda request: request.key.decode(), lambda request, signature: [], inside=lambda body, signature: body.replace(b'"@"', json.dumps(signature).encode()),
         kind="token", uses=["state"], published=("origin", (RSA_KEY, OTHER_RSA_KEY)), unsigned=graph_rich(), parameters={"app_id": GRAPH_APP, "tenant_id": GRAPH_TENANT}, extra=[graph_rich_extra],
         documents={f"https://login.microsoftonline.com/{GRAPH_TENANT}/discovery/v2.0/keys": json.dumps({"keys": [RSA_KEY.jwk("entra-1")]})})

# 1.7 E-mail


def unisender(body, key):
    return hashlib.md5(body.replace(b'"@"', b'"' + key + b'"')).hexdigest()


def unisender_extra(provider, key, wrong, headers, body, signature, case):
    twice = body[:-1] + b',"x":"' + signature.encode() + b'"}'
    yield case("the digest stands twice", "signature_malformed", body=twice)
    escaped = body.replace(signature.encode(), b"\\u%04x" % ord(signature[0]) + signature[1:].encode())
    yield case("the digest is written with an escape", "signature_malformed", body=escaped)
    yield case("digest of the body without the key", "signature_mismatch", body=body.replace(signature.encode(), hashlib.md5(provider.body.replace(b'"@"', b'""')).hexdigest().encode()))
    yield case("digest of the key alone", "signature_mismatch", body=body.replace(signature.encode(), hashlib.md5(key).hexdigest().encode()))
    more = provider.body[:-1] + b', "n": 1.0, "u": "\\u0441"}'
    yield case("a body that no parser would write so", "valid", body=more.replace(b'"@"', json.dumps(unisender(more, key)).encode()))


provider("unisender-go", compact({"auth": "@", "events_by_user": [{"user_id": 456, "project_id": "6432890213745872", "project_name": "MyProject", "events": [{"event_name": "transactional_email_status", "event_data": {"job_id": "1a3Q2V-0000OZ-S0", "email": "recipient.email@example.com", "status": "sent", "event_time": "2025-11-06 09:20:01"}}]}]}),
         lambda request: unisender(request.body, request.key), lambda request, signature: [], inside=lambda body, signature: body.replace(b'"@"', json.dumps(signature).encode()),
         secret="6qbfcfb9cfg4tbkpqdxb5yxuubuxh3xrd8asmxny", wrong="6qbfcfb9cfg4tbkpqdxb5yxuubuxh3xrd8asmxnz", encoding="hex", tamper=lambda body: body.replace(b"sent", b"read"), extra=[unisender_extra])

SENDGRID = compact([{"email": "hello@world.com", "event": "dropped", "reason": "Bounced Address", "sg_event_id": "ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA", "sg_message_id": "LRzXl_NHStOGhQ4kofSm_A.filterdrecv", "timestamp": NOW}]) + b"\r\n"
provider("sendgrid", SENDGRID, lambda request: b64(request.key.sign(str(request.now).encode() + request.body)),
         lambda request, signature: [["X-Twilio-Email-Event-Webhook-Signature", signature], ["X-Twilio-Email-Event-Webhook-Timestamp", str(request.now)]], header="X-Twilio-Email-Event-Webhook-Signature",
         kind="public", secret=EC_KEY.public("spki"), wrong=OTHER_EC_KEY.public("spki"), private=(EC_KEY, OTHER_EC_KEY), public="spki",
         extra=[without("X-Twilio-Email-Event-Webhook-Timestamp"), another("X-Twilio-Email-Event-Webhook-Timestamp", str(NOW + 1), "signature_mismatch")])
provider("mailgun", compact({"signature": {"timestamp": "@T", "token": "3e2d9b8c70d1f5a64e", "signature": "@"}, "event-data": {"id": "CPgfbmQMTCKtHW6uIWtuVe", "event": "delivered", "recipient": "alice@example.com", "message": {"headers": {"message-id": "20130503182626.18666.16540@example.com"}}}}),
         lambda request: mac("sha256", request.key, request.ts.encode() + b"3e2d9b8c70d1f5a64e").hex(), lambda request, signature: [], time=seconds, tolerance=86_400,
         stamp=lambda body, ts: body.replace(b"@T", ts.encode()), inside=lambda body, signature: body.replace(b'"@"', json.dumps(signature).encode()), encoding="hex",
         tamper=lambda body: body.replace(b"3e2d9b8c70d1f5a64e", b"3e2d9b8c70d1f5a64f"))
basic("postmark", compact({"RecordType": "Delivery", "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483", "Recipient": "john@example.com", "DeliveredAt": iso(NOW)}))
MANDRILL = form(("mandrill_events", compact([{"event": "send", "_id": "exampleaaaaaaaaaaaaaaaaaaaaaaaaa", "ts": NOW, "msg": {"_id": "exampleaaaaaaaaaaaaaaaaaaaaaaaaa", "subject": "It's ☕"}}]).decode()))
base64_text("mandrill", "X-Mandrill-Signature", MANDRILL, algorithm="sha1", message=lambda request: twilio_message(request.url, request.body), url=True, content_type="application/x-www-form-urlencoded",
            tamper=lambda body: body.replace(b"exampleaaa", b"exampleaab", 1))
hexadecimal("mailersend", "Signature", compact({"type": "activity.sent", "domain_id": "yv69oxl5kl785kw2", "created_at": iso(NOW), "data": {"id": "62f114f8165fe0d8db0288e5", "email": {"id": "e1", "message": {"id": "m1"}}}}))

# 1.8 Generic


def rfc9421_base(request):
    digest = "sha-256=:" + b64(sha256(request.body)) + ":"
    params = f'("@method" "@target-uri" "content-digest");created={request.now};alg="hmac-sha256"'
    return digest, params, f'"@method": {request.method}\n"@target-uri": {request.url}\n"content-digest": {digest}\n"@signature-params": {params}'


def rfc9421_extra(provider, key, wrong, headers, body, signature, case):
    digest = "sha-256=:" + b64(sha256(body)) + ":"
    yield case("another digest", "refused", headers=with_header(headers, "Content-Digest", lambda value: value.replace(digest, "sha-256=:" + b64(bytes(32)) + ":")))
    yield case("the digest is not covered", "refused", headers=with_header(headers, "Signature-Input", lambda value: value.replace(' "content-digest"', "")))
    yield case("no digest", "refused", headers=with_header(headers, "Content-Digest", lambda value: None))
    yield case("stale", "refused", now=NOW + 301)
    yield case("future", "refused", now=NOW - 301)
    yield case("another algorithm is said", "refused", headers=with_header(headers, "Signature-Input", lambda value: value.replace("hmac-sha256", "ed25519")))


provider("http-message-signatures", compact({"id": "e1", "type": "order.placed", "time": iso(NOW), "subject": "o1"}), lambda request: b64(mac("sha256", request.key, rfc9421_base(request)[2].encode())),
         lambda request, signature: [["Content-Digest", rfc9421_base(request)[0]], ["Signature-Input", "sig1=" + rfc9421_base(request)[1]], ["Signature", f"sig1=:{signature}:"]],
         secret=b64(bytes(range(64))), wrong=b64(bytes(range(1, 65))), key=base64.b64decode, url=True, kind="jwt", header="Signature", extra=[rfc9421_extra], repeats=True)

# 1.9 Further senders

provider("telnyx", compact({"data": {"record_type": "event", "id": "0ccc7b54-4df3", "event_type": "call.initiated", "occurred_at": iso(NOW), "payload": {"call_leg_id": "428c31b6"}}, "meta": {"attempt": 1}}),
         lambda request: b64(request.key.sign(request.ts.encode() + b"|" + request.body)), stamped("telnyx-signature-ed25519", "telnyx-timestamp"), header="telnyx-signature-ed25519", kind="public", time=seconds,
         secret=ED_KEY.public("base64"), wrong=OTHER_ED_KEY.public("base64"), private=(ED_KEY, OTHER_ED_KEY), public="base64")
provider("vonage", compact({"message_uuid": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab", "to": "447700900000", "timestamp": iso(NOW), "status": "delivered"}),
         lambda request: jws({"alg": "HS256", "typ": "JWT"}, {"iat": request.now, "iss": "Vonage", "jti": "c5ba8f24", "payload_hash": sha256(request.body).hex(), "api_key": "a1b2c3d"}, hs(request.key)),
         raw("Authorization", "Bearer "), header="Authorization", kind="jwt", extra=[jwt_attacks(False)])


def messagebird_sign(request):
    return jws({"alg": "HS256", "typ": "JWT"}, {"iss": "MessageBird", "nbf": request.now, "exp": request.now + 60, "jti": "8f6f9d3e", "url_hash": sha256(request.url.encode()).hex(), "payload_hash": sha256(request.body).hex()}, hs(request.key))


provider("messagebird", compact({"type": "message.updated", "message": {"id": "m1", "status": "delivered", "updatedDatetime": iso(NOW)}, "conversation": {"id": "c1"}}), messagebird_sign, raw("MessageBird-Signature-JWT"),
         header="MessageBird-Signature-JWT", kind="jwt", url=True, secret="PlLrKaqvZNRR5zAjm42ZT6q1SQxgbbGd", extra=[jwt_attacks(False)])
base64_text("sinch", "x-sinch-webhook-signature", compact({"app_id": "a1", "event_time": iso(NOW), "message": {"id": "m1", "conversation_id": "c1"}}), message=lambda request: request.body + b".01FJA8B4A7BM43YGWSG9GBV067." + request.ts.encode(), time=seconds,
            headers=lambda request, signature: [["x-sinch-webhook-signature", signature], ["x-sinch-webhook-signature-nonce", "01FJA8B4A7BM43YGWSG9GBV067"], ["x-sinch-webhook-signature-timestamp", request.ts], ["x-sinch-webhook-signature-algorithm", "HmacSHA256"]],
            extra=[without("x-sinch-webhook-signature-nonce"), another("x-sinch-webhook-signature-algorithm", "HmacSHA1", "signature_malformed")])


def ebay_header(request, signature):
    return [["X-EBAY-SIGNATURE", b64(compact({"alg": "ecdsa", "kid": "9936261a-7d7b-4621-a0f1-964e6bb3bcf1", "signature": signature, "digest": "SHA1"}))]]


def ebay_cases(provider, key, wrong, headers, body, signature, case):
    changed = lambda text: with_header(headers, "X-EBAY-SIGNATURE", lambda _: b64(compact({"kid": "k", "signature": text})))
    yield case("tampered signature inside the header", "signature_mismatch", headers=changed(tampered(signature)))
    yield case("no signature inside the header", "signature_malformed", headers=with_header(headers, "X-EBAY-SIGNATURE", lambda _: b64(b'{"kid":"k"}')))
    yield case("signature empty inside the header", "refused", headers=changed(""))
    yield case("signature cut short inside the header", "refused", headers=changed(signature[:-4]))


provider("ebay", compact({"metadata": {"topic": "MARKETPLACE_ACCOUNT_DELETION", "schemaVersion": "1.0"}, "notification": {"notificationId": "49feeaeb-4982-42d9-a377-9645b8479411", "eventDate": iso(NOW), "publishAttemptCount": 1, "data": {"username": "test_user", "userId": "ma8vp1jySJC"}}}),
         lambda request: b64(request.key.sign(request.body, hashes.SHA1)), ebay_header, header="X-EBAY-SIGNATURE", kind="public", parameters={"api_host": "api.ebay.com", "url": HOST + "/in/ebay"},
         secret=EC_KEY.public("spki"), wrong=OTHER_EC_KEY.public("spki"), private=(EC_KEY, OTHER_EC_KEY), public="spki", extra=[ebay_cases])
base64_text("kontent-ai", "X-Kontent-ai-Signature", compact({"notifications": [{"data": {"system": {"id": "d53360f7", "last_modified": iso(NOW)}}, "message": {"environment_id": "a99e5b6b", "object_type": "content_item", "action": "published"}}]}), secret="BHPyBG8kEuhYaOdNvqhGaFJVsKBtvCz0Aqj9kJ9qs3c=")


def hygraph_sign(request):
    signed = {"Body": request.body.decode(), "EnvironmentName": "master", "TimeStamp": int(request.ts)}
    return b64(mac("sha256", request.key, json.dumps(signed, separators=(",", ":"), ensure_ascii=False).encode()))


def hygraph_extra(provider, key, wrong, headers, body, signature, case):
    text = '{"operation":"publish","data":{"__typename":"Post","id":"c1","t":"\\"q\\" \\\\ \\n Caf\u00e9 ☕ \u2028 </x>"}}'.encode()
    made, sent, _ = provider.request(key, body=text)
    yield case("quotes, escapes and letters beyond ASCII", "valid", headers=made, body=sent)


provider("hygraph", compact({"operation": "publish", "data": {"__typename": "Post", "id": "ckp1", "updatedAt": iso(NOW)}}), hygraph_sign, lambda request, signature: [["gcms-signature", f"sign={signature}, env=master, t={request.ts}"]],
         header="gcms-signature", time=milliseconds, encoding="base64", parameters={"environment": "master"}, extra=[hygraph_extra])
provider("sanity", compact({"_id": "resume", "_type": "resume", "_updatedAt": iso(NOW)}), lambda request: b64u(mac("sha256", request.key, dotted(request))),
         lambda request, signature: [["sanity-webhook-signature", f"t={request.ts},v1={signature}"], ["idempotency-key", "k-1"]], header="sanity-webhook-signature", time=milliseconds)
hexadecimal("mux", "Mux-Signature", compact({"type": "video.asset.ready", "id": "3a56ac3d", "created_at": iso(NOW), "object": {"type": "asset", "id": "0201p02fGKPE7MrbC269XRD7LpcHhrmbu"}}), message=dotted, time=seconds, headers=pairs("Mux-Signature", "t", "v1"))
provider("moralis", compact({"confirmed": True, "chainId": "0x1", "streamId": "c28d9e2e", "tag": "Bored Ape", "retries": 0, "block": {"number": "15984246", "hash": "0x1", "timestamp": str(NOW)}}), lambda request: keccak256(request.body + request.key).hex(),
         raw("x-signature", "0x"), header="x-signature", encoding="hex")
provider("recharge", compact({"subscription": {"id": 1, "status": "x"}, "type": "ACTIVE"}), lambda request: sha256(request.key + request.body).hex(),
         lambda request, signature: [["X-Recharge-Hmac-Sha256", signature], ["X-Recharge-Topic", "subscription/created"]], header="X-Recharge-Hmac-Sha256", encoding="hex")


def http_date(now):
    return datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")


hexadecimal("klaviyo", "Klaviyo-Signature", compact({"data": [{"topic": "event:klaviyo.sent_sms", "external_id": "x1", "payload": {"data": {"id": "4vRpBT", "attributes": {"datetime": iso(NOW)}}}}], "meta": {"timestamp": iso(NOW)}}), message=lambda request: request.body + http_date(request.now).encode(),
            headers=lambda request, signature: [["Klaviyo-Signature", signature], ["Klaviyo-Timestamp", http_date(request.now)]], extra=[without("Klaviyo-Timestamp"), another("Klaviyo-Timestamp", http_date(NOW + 600), "signature_mismatch")])
base64_text("front", "X-Front-Signature", compact({"type": "inbound_received", "authorization": {"id": "cmp_1"}, "payload": {"id": "evt_55c8c149", "type": "inbound", "emitted_at": NOW, "conversation": {"id": "cnv_55c8c149"}}}), message=colon, time=milliseconds,
            headers=stamped("X-Front-Signature", "X-Front-Request-Timestamp"))
base64_text("knock", "x-knock-signature", compact({"id": "k1", "type": "message.sent", "created_at": iso(NOW), "data": {"id": "1rjI9XL", "recipient": "u1"}}), message=dotted, time=milliseconds, headers=pairs("x-knock-signature", "t", "s"))
hexadecimal("customer-io", "X-CIO-Signature", compact({"event_id": "01E4C4CT6YDC7Y5M7FE1GWWPQJ", "object_type": "email", "metric": "sent", "timestamp": NOW, "data": {"delivery_id": "RPILAgABcRhIBqSp7kiPekGBIeVh", "identifiers": {"cio_id": "d9c106000001"}}}), message=lambda request: b"v0:" + colon(request), time=seconds,
            headers=stamped("X-CIO-Signature", "X-CIO-Timestamp"))


def orb_time(now):
    return iso(now)[:-1] + ".000"


hexadecimal("orb", "X-Orb-Signature", compact({"id": "o4mmewpfNNTnjfZc", "created_at": iso(NOW), "type": "subscription.started", "subscription": {"id": "s1"}}), message=lambda request: b"v1:" + orb_time(request.now).encode() + b":" + request.body, time=orb_time, tolerance=86_400,
            headers=lambda request, signature: [["X-Orb-Signature", "v1=" + signature], ["X-Orb-Timestamp", orb_time(request.now)]], extra=[without("X-Orb-Timestamp"), another("X-Orb-Timestamp", orb_time(NOW + 600), "signature_mismatch")])
hexadecimal("revolut", "Revolut-Signature", compact({"event": "ORDER_COMPLETED", "timestamp": iso(NOW), "order_id": "9fc01989-3f61-4484-a5d9-ffe768531be9"}), message=lambda request: b"v1." + dotted(request), time=milliseconds,
            headers=stamped("Revolut-Signature", "Revolut-Request-Timestamp", "v1="), secret="wsk_r59a4HfWVAKycbCaNO1RvgCJec02gRd8", extra=[two_pieces(",", "v1")])
hexadecimal("webflow", "x-webflow-signature", compact({"triggerType": "form_submission", "payload": {"siteId": "65427cf400e02b306eaa049c", "id": "6321ca84df3949bfc6752327"}}), message=colon, time=milliseconds, headers=stamped("x-webflow-signature", "x-webflow-timestamp"))
hexadecimal("airwallex", "x-signature", compact({"id": "evt_sgpdvvz5tgg", "name": "payment_intent.succeeded", "account_id": "acct_1", "created_at": iso(NOW), "source_id": "int_1"}), message=glued, time=milliseconds, headers=stamped("x-signature", "x-timestamp"))
hexadecimal("affirm", "X-Affirm-Signature", compact({"event": "opened", "checkout_token": "FXFJPB2R0HVJPCJN"}), algorithm="sha512", message=dotted, time=seconds, headers=pairs("X-Affirm-Signature", "t", "v0"))
ANET, OTHER_ANET = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0" * 2, "1f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0" * 2
provider("authorize-net", compact({"notificationId": "d0e8e7fe-c3e7-4add-a480-27bc5ce28a18", "eventType": "net.authorize.payment.authcapture.created", "eventDate": iso(NOW), "payload": {"id": "60020981676"}}), lambda request: mac("sha512", request.key, request.body).hex().upper(),
         raw("X-ANET-Signature", "sha512="), header="X-ANET-Signature", secret=ANET, wrong=OTHER_ANET, key=bytes.fromhex)
hexadecimal("onfleet", "X-Onfleet-Signature", compact({"taskId": "ZOwREbSYCE0yxyzT", "triggerId": 3, "triggerName": "taskCompleted", "time": NOW * 1000}), algorithm="sha512", secret=ANET[:128], wrong=OTHER_ANET[:128], key=bytes.fromhex)
hexadecimal("squarespace", "Squarespace-Signature", compact({"id": "09b8fb4b", "websiteId": "w1", "topic": "order.create", "createdOn": iso(NOW), "data": {"orderId": "o1"}}), secret=ANET[:64], wrong=OTHER_ANET[:64], key=bytes.fromhex)


def mercado_message(request_id=True):
    return lambda request: ("id:" + request.query["data.id"].lower() + ";" + ("request-id:f7b2a1d4;" if request_id else "") + "ts:" + request.ts + ";").encode()


def mercado_extra(provider, key, wrong, headers, body, signature, case):
    without_id = Request(provider, key, NOW, body)
    shorter = mac("sha256", key, mercado_message(False)(without_id)).hex()
    yield case("no request id: its part is left out", "valid", headers=[[name, value.replace(signature, shorter)] for name, value in headers if name != "x-request-id"])
    yield case("another payment in the query", "signature_mismatch", target="/in/mercado-pago?data.id=ORD01JX&type=payment")
    yield case("the body is not bound", "valid", body=body.replace(b"payment.updated", b"payment.created"))


hexadecimal("mercado-pago", "x-signature", compact({"id": 112233445566, "live_mode": True, "type": "payment", "date_created": iso(NOW), "action": "payment.updated", "data": {"id": "ORD01JQ"}}), message=mercado_message(), time=milliseconds, tamper=False, target="/in/mercado-pago?data.id=ORD01JQ&type=payment",
            headers=lambda request, signature: [["x-signature", f"ts={request.ts},v1={signature}"], ["x-request-id", "f7b2a1d4"]], extra=[mercado_extra])
hexadecimal("linkedin", "X-LI-Signature", compact({"id": "n1", "type": "LEAD_ACTION", "leadAction": "CREATED", "owner": {"sponsoredAccount": "urn:li:sponsoredAccount:1"}, "occurredAt": NOW * 1000}), message=lambda request: b"hmacsha256=" + request.body)
hexadecimal("tiktok", "TikTok-Signature", compact({"client_key": "bwo2m45353a6k85", "event": "video.publish.completed", "create_time": NOW, "user_openid": "act.example12345", "content": "{}"}), message=dotted, time=seconds, headers=pairs("TikTok-Signature", "t", "s"))
hexadecimal("tiktok-shop", "Authorization", compact({"tts_notification_id": "7327112393057371910", "type": 1, "shop_id": "7494049642642441621", "timestamp": NOW, "data": {"order_id": "576486316948490001"}}), message=lambda request: b"29a39d" + request.body, parameters={"app_key": "29a39d"})
provider("solidgate", compact({"callback_type": "init", "order": {"order_id": "o-1", "status": "approved"}}), lambda request: b64(mac("sha512", request.key, b"wh_pk_1" + request.body + b"wh_pk_1").hex().encode()),
         lambda request, signature: [["merchant", "wh_pk_1"], ["signature", signature], ["solidgate-event-id", "e-1"], ["solidgate-event-type", "card_gate.order.updated"]], header="signature", secret="wh_sk_8c5f4f", parameters={"public_key": "wh_pk_1"},
         extra=[another("merchant", "wh_pk_2", "signature_malformed")])
provider("oura", compact({"event_type": "update", "data_type": "daily_activity", "object_id": "12345abc", "event_time": iso(NOW), "user_id": "u1"}), lambda request: mac("sha256", request.key, glued(request)).hex().upper(), stamped("x-oura-signature", "x-oura-timestamp"),
         header="x-oura-signature", time=seconds)
hexadecimal("framer", "Framer-Signature", compact({"Name": "Ada", "Email": "ada@example.com"}), message=lambda request: request.body + b"Tc5M9hzlLhIVSAzGoRhRyEZA", headers=lambda request, signature: [["Framer-Signature", "sha256=" + signature], ["Framer-Webhook-Submission-Id", "Tc5M9hzlLhIVSAzGoRhRyEZA"]],
            extra=[without("Framer-Webhook-Submission-Id"), another("Framer-Webhook-Submission-Id", "another", "signature_mismatch")])
base64_text("configcat", "X-ConfigCat-Webhook-Signature-V1", compact({"event": "config.changed", "configId": "08d5"}), message=lambda request: b"b616ca659d154a5fb907dd8475792eeb" + request.ts.encode() + request.body, time=seconds,
            headers=lambda request, signature: [["X-ConfigCat-Webhook-ID", "b616ca659d154a5fb907dd8475792eeb"], ["X-ConfigCat-Webhook-Timestamp", request.ts], ["X-ConfigCat-Webhook-Signature-V1", signature]], extra=[listed(","), without("X-ConfigCat-Webhook-ID")])
base64_text("cronofy", "Cronofy-HMAC-SHA256", compact({"notification": {"type": "change", "changes_since": iso(NOW)}, "channel": {"channel_id": "chn_1"}}), extra=[listed(",")])
hexadecimal("deel", "x-deel-signature", compact({"timestamp": iso(NOW), "data": {"meta": {"event_type": "contract.created"}, "resource": {"id": "3g9yq"}}}), message=lambda request: b"POST" + request.body)
provider("merge", compact({"hook": {"id": "h1", "event": "candidate.created"}, "linked_account": {"id": "l1"}, "data": {"modified_at": iso(NOW)}}), lambda request: base64.urlsafe_b64encode(mac("sha256", request.key, request.body)).decode(), raw("X-Merge-Webhook-Signature"), header="X-Merge-Webhook-Signature")
base64_text("microsoft-teams", "Authorization", compact({"type": "message", "id": "1485983408511", "timestamp": iso(NOW), "serviceUrl": "https://smba.trafficmanager.net/amer/", "from": {"id": "u1"}, "conversation": {"id": "c1"}, "text": "hello"}), prefix="HMAC ",
            secret=b64(b"a teams security token, 32 bytes"), wrong=b64(b"one more security token, 32 byte"), key=base64.b64decode)
base64_text("mongodb-atlas", "X-MMS-Signature", compact({"id": "a1", "groupId": "g1", "eventTypeName": "HOST_DOWN", "status": "OPEN", "updated": iso(NOW)}), algorithm="sha1")
hexadecimal("autodesk", "x-adsk-signature", compact({"version": "1.0", "resourceUrn": "urn:adsk.wipprod:fs.file:vf.1", "hook": {"hookId": "h1", "event": "dm.version.added"}}), prefix="sha1hash=", algorithm="sha1")
hexadecimal("segment", "X-Signature", compact({"messageId": "m-1", "type": "track", "event": "Order Completed", "userId": "u1", "timestamp": iso(NOW), "version": 2}), algorithm="sha1")
hexadecimal("nylas", "X-Nylas-Signature", compact({"specversion": "1.0", "type": "message.created", "id": "mock-id", "time": NOW, "webhook_delivery_attempt": 1, "data": {"object": {"grant_id": "g1", "id": "m1"}}}))


def aftership_extra(provider, key, wrong, headers, body, signature, case):
    yield case("under the older name", "valid", headers=[["aftership-hmac-sha256", signature]])


base64_text("aftership", "as-signature-hmac-sha256", compact({"ts": NOW, "event": "tracking_update", "event_id": "fd5ef8c2", "msg": {"id": "t1", "tracking_number": "1111111111111"}}), extra=[aftership_extra])
hexadecimal("getstream", "X-Signature", compact({"type": "message.new", "cid": "messaging:fun", "created_at": iso(NOW), "message": {"id": "m1"}, "user": {"id": "u1"}}), headers=lambda request, signature: [["X-Signature", signature], ["X-Webhook-Id", "w-1"]])


TL_KEYS = "https://webhooks.truelayer.com/.well-known/jwks"


def tl_token(key, body, path="/in/truelayer", names="X-Tl-Webhook-Timestamp,Content-Type", changes=None, method="POST", values=None):
    values = values or {"X-Tl-Webhook-Timestamp": iso(NOW), "Content-Type": "application/json"}
    head = b64u(compact({"alg": "ES512", "kid": "tl-1", "tl_version": "2", "tl_headers": names, "jku": TL_KEYS} | (changes or {})))
    lines = "".join(f"{name}: {values.get(name, '')}\n" for name in names.split(","))
    signed = head + "." + b64u(f"{method} {path}\n{lines}".encode() + body)
    return head + ".." + b64u(key.sign(signed.encode()))


def tl_extra(provider, key, wrong, headers, body, signature, case):
    with_token = lambda token: {"headers": with_header(headers, provider.header, lambda _: token)}
    yield case("the list leaves the time out", "signature_malformed", **with_token(tl_token(key, body, names="Content-Type")))
    yield case("nothing is listed", "signature_malformed", **with_token(tl_token(key, body, names="")))
    yield case("only the time is listed", "valid", **with_token(tl_token(key, body, names="X-Tl-Webhook-Timestamp")))
    head, _, signed = tl_token(key, body).partition("..")
    first = b64u(compact({"alg": "ES512", "kid": "tl-1", "jku": TL_KEYS}))
    yield case("the first version, over the body alone", "signature_malformed", **with_token(first + ".." + b64u(key.sign((first + "." + b64u(body)).encode()))))
    yield case("another list under the same signature", "signature_mismatch", **with_token(b64u(compact({"alg": "ES512", "kid": "tl-1", "tl_version": "2", "tl_headers": "X-Tl-Webhook-Timestamp", "jku": TL_KEYS})) + ".." + signed))
    yield case("another path", "signature_mismatch", **with_token(tl_token(key, body, path="/in/other")))
    yield case("another method", "signature_mismatch", **with_token(tl_token(key, body, method="PUT")))
    yield case("a signed header changed", "signature_mismatch", headers=with_header(headers, "X-Tl-Webhook-Timestamp", lambda _: iso(NOW + 60)))
    yield case("a signed header twice", "signature_duplicated", headers=with_header(headers, "X-Tl-Webhook-Timestamp", lambda value: [value, value]))
    yield case("a signed header missing", "signature_missing", headers=with_header(headers, "Content-Type", lambda _: None))
    yield case("keys of somebody else", "signature_malformed", **with_token(tl_token(key, body, changes={"jku": "https://webhooks.truelayer.com.attacker.tld/.well-known/jwks"})))
    yield case("keys of the sandbox", "signature_malformed", **with_token(tl_token(key, body, changes={"jku": "https://webhooks.truelayer-sandbox.com/.well-known/jwks"})))
    yield case("a key that nobody has", "refused", **with_token(tl_token(key, body, changes={"kid": "tl-9"})))
    yield case("alg none", "refused", **with_token(tl_token(key, body, changes={"alg": "none"})))
    yield case("attached instead of detached", "refused", **with_token(head + "." + b64u(body) + "." + signed))


provider("truelayer", compact({"type": "payment_executed", "event_id": "b8d4dda0-ff2c-4d77-a6da-4615e4bad941", "event_version": 1, "payment_id": "60c60d60-ed73-4c09-99d1-090f8fdb2d5d"}),
         lambda request: tl_token(request.key, request.body), lambda request, signature: [["Tl-Signature", signature], ["X-Tl-Webhook-Timestamp", iso(NOW)]], header="Tl-Signature", kind="jwt",
         secret=None, private=(P521_KEY, OTHER_P521_KEY), parameters={"keys_host": "webhooks.truelayer.com"}, documents={TL_KEYS: json.dumps({"keys": [P521_KEY.jwk("tl-1")]})}, extra=[tl_extra])


def fireblocks_sign(request):
    head = b64u(compact({"alg": "RS512", "kid": "fireblocks-1"}))
    signed = head + "." + b64u(request.body)
    return head + ".." + b64u(request.key.sign(signed.encode(), hashes.SHA512))


def fireblocks_extra(provider, key, wrong, headers, body, signature, case):
    head, _, signed = signature.partition("..")
    attached = head + "." + b64u(body) + "." + signed
    yield case("attached instead of detached", "refused", headers=with_header(headers, provider.header, lambda _: attached))
    unknown = b64u(compact({"alg": "RS512", "kid": "fireblocks-9"})) + ".." + signed
    yield case("a key that nobody has", "refused", headers=with_header(headers, provider.header, lambda _: unknown))


provider("fireblocks", compact({"id": "e-1", "eventType": "transaction.created", "eventVersion": 1.0, "createdAt": NOW * 1000, "resourceId": "r-1", "data": {"id": "t-1"}}), fireblocks_sign, raw("Fireblocks-Webhook-Signature"), header="Fireblocks-Webhook-Signature", kind="jwt",
         secret=None, private=(RSA_KEY, OTHER_RSA_KEY), parameters={"keys_host": "keys.fireblocks.io"}, documents={"https://keys.fireblocks.io/.well-known/jwks.json": json.dumps({"keys": [RSA_KEY.jwk("fireblocks-1")]})}, extra=[fireblocks_extra])
provider("fusionauth", compact({"event": {"id": "f1", "type": "user.create", "tenantId": "t1", "createInstant": NOW * 1000, "user": {"id": "u1"}}}),
         lambda request: jws({"alg": "HS256", "typ": "JWT", "kid": "k"}, {"request_body_sha256": b64(sha256(request.body))}, hs(request.key)), raw("X-FusionAuth-Signature-JWT"), header="X-FusionAuth-Signature-JWT", kind="jwt", extra=[jwt_attacks(False)])
provider("wix", b"", lambda request: jws({"alg": "RS256", "kid": "w"}, {"data": json.dumps({"eventType": "wix.contacts.v4.contact_created", "instanceId": "i1"}), "iat": request.now, "exp": request.now + 3600}, rs256(request.key)), lambda request, signature: [],
         kind="jwt", inside_token=True, content_type="text/plain", tamper=False, secret=RSA_KEY.public(), wrong=OTHER_RSA_KEY.public(), private=(RSA_KEY, OTHER_RSA_KEY), public="pem", extra=[jwt_attacks(True)])
provider("kinde", b"", lambda request: jws({"alg": "RS256", "kid": "kinde-1", "typ": "JWT"}, {"type": "user.updated", "event_id": "event_0192", "timestamp": iso(request.now), "source": "admin", "data": {"user": {"id": "kp_1"}}}, rs256(request.key)), lambda request, signature: [],
         kind="jwt", inside_token=True, content_type="application/jwt", tamper=False, secret=None, private=(RSA_KEY, OTHER_RSA_KEY), parameters={"domain": "example.kinde.com"},
         documents={"https://example.kinde.com/.well-known/jwks": json.dumps({"keys": [RSA_KEY.jwk("kinde-1")]})}, extra=[jwt_attacks(True)])
provider("circle", compact({"subscriptionId": "s-1", "notificationId": "n-1", "notificationType": "webhooks.test", "notification": {"hello": "world"}, "timestamp": iso(NOW), "version": 2}), lambda request: b64(request.key.sign(request.body)),
         lambda request, signature: [["X-Circle-Signature", signature], ["X-Circle-Key-Id", "879dc113"]], header="X-Circle-Signature", kind="public", secret=EC_KEY.public("spki"), wrong=OTHER_EC_KEY.public("spki"), private=(EC_KEY, OTHER_EC_KEY), public="spki")
provider("wechat-pay", compact({"id": "EV-2018022511223320873", "create_time": iso(NOW), "resource_type": "encrypt-resource", "event_type": "TRANSACTION.SUCCESS", "resource": {"algorithm": "AEAD_AES_256_GCM", "ciphertext": "x"}}),
         lambda request: b64(request.key.sign(request.ts.encode() + b"\nEbB3tXM1\n" + request.body + b"\n")), lambda request, signature: [["Wechatpay-Signature", signature], ["Wechatpay-Timestamp", request.ts], ["Wechatpay-Nonce", "EbB3tXM1"], ["Wechatpay-Serial", "PUB_KEY_ID_1"]],
         header="Wechatpay-Signature", kind="public", time=seconds, secret=RSA_KEY.public(), wrong=OTHER_RSA_KEY.public(), private=(RSA_KEY, OTHER_RSA_KEY), public="pem", extra=[without("Wechatpay-Nonce")])

ALIPAY = [("notify_id", "ac05099524730693a8b330c5ecf72da9786"), ("notify_type", "trade_status_sync"), ("notify_time", "2025-11-06 17:20:01"), ("out_trade_no", "6823789339978248"), ("trade_status", "TRADE_SUCCESS"), ("subject", "a=b & ☕"), ("body", ""), ("sign_type", "RSA2")]


def alipay_sign(request):
    signed = "&".join(f"{name}={value}" for name, value in sorted(ALIPAY) if value and name not in ("sign", "sign_type"))
    return b64(request.key.sign(signed.encode()))


provider("alipay", form(*ALIPAY, ("sign", "@")), alipay_sign, lambda request, signature: [], inside=lambda body, signature: form(*ALIPAY, ("sign", signature)), content_type="application/x-www-form-urlencoded",
         kind="public", secret=RSA_KEY.public("spki"), wrong=OTHER_RSA_KEY.public("spki"), private=(RSA_KEY, OTHER_RSA_KEY), public="spki", tamper=lambda body: body.replace(b"TRADE_SUCCESS", b"TRADE_CLOSED"))
hexadecimal("checkr", "X-Checkr-Signature", compact({"id": "507f1f77bcf86cd799439011", "object": "event", "type": "report.completed", "created_at": iso(NOW), "data": {"object": {"id": "r1", "candidate_id": "c1"}}}))
hexadecimal("clickup", "X-Signature", compact({"event": "taskCreated", "task_id": "1vj37mc", "webhook_id": "7fa3ec74"}))
hexadecimal("dub", "Dub-Signature", compact({"id": "evt_KleiO4HBWPyHjdDt7MWL7A8lc", "event": "link.clicked", "createdAt": iso(NOW), "data": {"link": {"id": "l1"}}}))
hexadecimal("cal-com", "X-Cal-Signature-256", compact({"triggerEvent": "BOOKING_CREATED", "createdAt": iso(NOW), "payload": {"uid": "bFJeNb2uX8ANpT3JL5EfXw"}}))
hexadecimal("ashby", "Ashby-Signature", compact({"action": "applicationSubmit", "data": {"application": {"id": "a1"}}}), prefix="sha256=")
hexadecimal("doppler", "X-Doppler-Signature", compact({"type": "config.secrets.update", "config": {"name": "prd"}, "project": {"id": "backend"}}), prefix="sha256=")
hexadecimal("sendbird", "X-Sendbird-Signature", compact({"category": "group_channel:message_send", "app_id": "a1", "channel": {"channel_url": "sendbird_group_channel_1"}}))
hexadecimal("launchdarkly", "X-LD-Signature", compact({"_id": "5bf9", "date": NOW * 1000, "kind": "flag", "titleVerb": "turned on the flag", "target": {"resources": ["proj/default:env/production:flag/x"]}}))
hexadecimal("chargify", "X-Chargify-Webhook-Signature-Hmac-Sha-256", form(("id", "24427"), ("event", "payment_success"), ("payload[subscription][id]", "1"), ("payload[customer][id]", "2")), content_type="application/x-www-form-urlencoded",
            headers=lambda request, signature: [["X-Chargify-Webhook-Signature-Hmac-Sha-256", signature], ["X-Chargify-Webhook-Id", "24427"]])
hexadecimal("modern-treasury", "X-Signature", compact({"event": "created", "data": {"id": "c7d8", "object": "payment_order", "updated_at": iso(NOW)}}), headers=lambda request, signature: [["X-Signature", signature], ["X-Topic", "payment_order"], ["X-Event-ID", "e-1"]])
hexadecimal("dwolla", "X-Request-Signature-SHA-256", compact({"id": "80d8ff7d", "resourceId": "b3ea2c19", "topic": "customer_transfer_completed", "created": iso(NOW)}))
base64_text("tally", "Tally-Signature", compact({"eventId": "a4cb511e", "eventType": "FORM_RESPONSE", "createdAt": iso(NOW), "data": {"responseId": "2wgx4n", "formId": "VwbNEw"}}))
hexadecimal("npm", "x-npm-signature", compact({"event": "package:publish", "name": "@example/package", "version": "1.0.0", "time": NOW * 1000, "change": {"version": "1.0.1"}}), prefix="sha256=")
token("hugging-face", "X-Webhook-Secret", compact({"event": {"action": "update", "scope": "repo.content"}, "repo": {"type": "model", "name": "a/b", "id": "621ffdc036468d709f17434d"}}))
provider("meraki", compact({"version": "0.1", "sharedSecret": "@", "sentAt": iso(NOW), "networkId": "N_24329156", "deviceSerial": "Q234-ABCD-5678", "alertId": "0000000000000000", "alertType": "APs came up", "alertTypeId": "started_reporting", "occurredAt": iso(NOW)}),
         lambda request: request.key.decode(), lambda request, signature: [], inside=lambda body, signature: body.replace(b'"@"', json.dumps(signature).encode()), kind="token")
token("acrobat-sign", "X-AdobeSign-ClientId", compact({"webhookId": "3AAABLblqZhB9BF", "webhookName": "w", "webhookNotificationId": "n-1", "webhookScope": "ACCOUNT", "event": "AGREEMENT_CREATED", "eventDate": iso(NOW), "eventResourceType": "agreement", "agreement": {"id": "CBJCHBCAABAA", "name": "a", "status": "OUT_FOR_SIGNATURE"}}),
      secret="CBJCHBCAABAAo8FMOkgkLBnvKB_zQeWc", wrong="CBJCHBCAABAAo8FMOkgkLBnvKB_zQeWd", parameters={"client_id": "CBJCHBCAABAAo8FMOkgkLBnvKB_zQeWc"})
token("ringcentral", "Verification-Token", compact({"uuid": "5794186513434923", "event": "/restapi/v1.0/account/1/extension/2/message-store", "timestamp": iso(NOW), "subscriptionId": "s1", "body": {"id": "b1"}}))
token("deepgram", "dg-token", compact({"metadata": {"request_id": "9dfbd4bf", "created": iso(NOW)}, "results": {}}))


ADYEN_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
ADYEN_ITEM = {"NotificationRequestItem": {"pspReference": "7914073381342284", "merchantAccountCode": "AcmeNL", "merchantReference": "order-4711", "amount": {"value": 1130, "currency": "EUR"}, "eventCode": "AUTHORISATION", "success": "true", "eventDate": "2026-11-23T12:00:00+01:00", "additionalData": {}}}
# First deliveries of the presets whose vectors generate.py writes: secret, headers, body.
OF_THE_SEVEN = {
    "adyen": (ADYEN_KEY, [], compact({"live": "false", "notificationItems": [ADYEN_ITEM]})),
    "adyen-platform": (ADYEN_KEY, [], compact({"type": "balancePlatform.accountHolder.created", "environment": "test", "timestamp": "2026-11-23T12:00:00Z", "data": {"balancePlatform": "Acme", "accountHolder": {"id": "AH00000000000000000000001"}}})),
    "github": ("a text of our own, long enough", [["X-GitHub-Event", "ping"], ["X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"]], compact({"zen": "Design for failure.", "hook_id": 1, "repository": {"id": 35129377}})),
    "shopify": ("shpss_41c8d3f6b2a97e5008d1", [["X-Shopify-Topic", "orders/create"], ["X-Shopify-Shop-Domain", "acme.myshopify.com"], ["X-Shopify-Webhook-Id", "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"], ["X-Shopify-Triggered-At", "2026-11-23T12:00:00.000000000Z"]], compact({"id": 820982911946154508, "total_price": "398.00"})),
    "slack": ("8f742231b10e8888abcd99yyyzzz85a5", [], compact({"type": "event_callback", "team_id": "T1", "event_id": "Ev08MFMKH6", "event_time": 1795435200, "event": {"type": "app_mention", "channel": "C1", "user": "U1", "text": "hello"}})),
    "standard-webhooks": (WHSEC, [["webhook-id", "msg_2b9sJ"]], compact({"type": "invoice.paid", "timestamp": "2026-11-23T12:00:00Z", "data": {"id": "in_1"}})),
    "stripe": ("whsec_9f2c41d7b0a85e63c1f04b7d92ae6835", [], compact({"id": "evt_1PgafmB7WZ01zgkW6dKueIc5", "object": "event", "api_version": "2026-09-30", "created": 1795435200, "type": "payment_intent.succeeded", "data": {"object": {"id": "pi_1", "object": "payment_intent"}}})),
}


def sample(provider):
    """A first delivery, as a new partner's folder has it: not signed, with what signs it."""
    key = provider.private[0] if provider.private else provider.key(provider.secret)
    headers, body, signature = provider.request(key, body=provider.unsigned)
    kept = [[name, value] for name, value in headers if signature not in value and not (provider.time and value == provider.time(NOW))
            and not (provider.name == "ebay" and name == provider.header) and name not in OF_THE_SIGNATURE]
    made = {"headers": kept, "body": body.decode()}
    if "?" in provider.target:
        made["query"] = "?" + provider.target.partition("?")[2]
    if provider.parameters:
        made["parameters"] = provider.parameters
    if provider.url:
        made["signs_its_address"] = True
    secrets = []
    if provider.secret is not None:
        secret = {"id": "first", "development": key.pem if provider.private else provider.secret}
        if provider.private:
            secret["public_key"] = provider.secret
        if provider.uses:
            secret["for"] = provider.uses[:1] + ALSO.get(provider.name, [])
        secrets.append(secret)
    elif provider.private:
        secrets.append({"id": "pinned", "development": key.pem, "public_key": key.public("pem")})
    if provider.published:
        purpose, (published, _) = provider.published
        secrets.append({"id": "pinned", "for": [purpose], "development": published.pem, "public_key": published.public("pem")})
    for purpose, development in BESIDE.get(provider.name, ()):
        secrets.append({"id": purpose, "for": [purpose], "development": development})
    if provider.name in VERIFIED:
        secrets.append({"id": "verify", "for": ["verify"], "development": "a-verify-token-of-our-own-0123456789"})
    return made | {"secrets": secrets}


# What else the first secret is for.
ALSO = {"twilio": ["json"]}

# Headers that say what a signature is over, and are written with it.
OF_THE_SIGNATURE = ("Signature-Input", "Content-Digest")

# Secrets for a preset's other schemes.
BESIDE = {"gitlab": [("token", "a-token-of-old-0123456789")]}

# Providers whose handshake shows, or hashes, a token of ours.
VERIFIED = ("meta", "oura", "ebay")


def samples():
    made = {one.name: sample(one) for one in PROVIDERS}
    for name, (secret, headers, body) in OF_THE_SEVEN.items():
        made[name] = {"headers": [["Content-Type", "application/json"]] + headers, "body": body.decode(), "secrets": [{"id": "first", "development": secret}]}
    return dict(sorted(made.items()))


def main():
    for one in PROVIDERS:
        made = list(vectors(one))
        check_names(made)
        file = {"preset": one.name}
        if one.url:
            file["public_url"] = HOST
        if one.parameters:
            file["parameters"] = one.parameters
        if one.public:
            file["public_keys"] = True
        if one.private or one.published:
            file["private_keys"] = [key.pem for key in one.private or one.published[1]]
        if one.documents:
            file |= {"roots": [CA_CERTIFICATE], "documents": one.documents}
        text = json.dumps(file | {"vectors": made}, indent=1, ensure_ascii=False)
        (HERE / f"{one.name}.json").write_text(text + "\n")
    (HERE.parent.parent / "src/signatures/presets/samples.json").write_text(json.dumps(samples(), indent=1, ensure_ascii=False) + "\n")
    print(f"{len(PROVIDERS)} presets")


if __name__ == "__main__":
    main()
