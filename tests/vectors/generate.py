#!/usr/bin/env python3
"""Writes the signature vectors, one file a preset, with an implementation of its own (hmac, hashlib).

genuine.json is kept by hand: requests that providers published or that their own libraries signed, each with its source.
This script computes each of those signatures again, adds a genuine request where a provider publishes none, and from
each preset's genuine requests makes the altered ones that must be refused. Run it from anywhere; it needs Python 3 alone.

A vector: name, source, secrets (in order), now (Unix seconds), headers (pairs), body (text) or body_base64,
expect ("valid" or the refusal's code) and, when valid, matches (the place of the secret that made it).
"""

import base64
import copy
import hashlib
import hmac
import json
import pathlib

HERE = pathlib.Path(__file__).parent
SELF = "tests/vectors/generate.py"
WRONG = {"hex": "0badc0de" * 8, "base64": "whsec_" + base64.b64encode(bytes(range(24))).decode(), "text": "quite another secret"}


def mac(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def b64(data):
    return base64.b64encode(data).decode()


def adyen_item(key, item):
    amount = item.get("amount") or {}
    names = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference")
    fields = [item.get(name) for name in names] + [amount.get("value"), amount.get("currency"), item.get("eventCode"), item.get("success")]
    return b64(mac(key, ":".join("" if field is None else str(field) for field in fields).encode()))


class Preset:
    """How one provider signs. `headers` signs a body whole; Adyen's items have `body` instead."""

    def __init__(self, secret, header, encoding, signed, form):
        self.secret, self.header, self.encoding, self.signed, self.form = secret, header, encoding, signed, form

    def key(self, secret):
        if self.secret == "hex":
            return bytes.fromhex(secret)
        if self.secret == "base64":
            return base64.b64decode(secret.removeprefix("whsec_"))
        return secret.encode()

    def signature(self, secret, now, body, message_id=""):
        digest = mac(self.key(secret), self.signed(now, body, message_id))
        return digest.hex() if self.encoding == "hex" else b64(digest)

    def headers(self, secret, now, body, message_id=""):
        return self.form(now, self.signature(secret, now, body, message_id), message_id)


def seconds(now):
    return str(now).encode()


PRESETS = {
    "github": Preset("text", "X-Hub-Signature-256", "hex", lambda now, body, _: body,
                     lambda now, sig, _: [["X-Hub-Signature-256", "sha256=" + sig]]),
    "shopify": Preset("text", "X-Shopify-Hmac-Sha256", "base64", lambda now, body, _: body,
                      lambda now, sig, _: [["X-Shopify-Hmac-Sha256", sig]]),
    "stripe": Preset("text", "Stripe-Signature", "hex", lambda now, body, _: seconds(now) + b"." + body,
                     lambda now, sig, _: [["Stripe-Signature", f"t={now},v1={sig}"]]),
    "slack": Preset("text", "X-Slack-Signature", "hex", lambda now, body, _: b"v0:" + seconds(now) + b":" + body,
                    lambda now, sig, _: [["X-Slack-Signature", "v0=" + sig], ["X-Slack-Request-Timestamp", str(now)]]),
    "standard-webhooks": Preset("base64", "webhook-signature", "base64",
                                lambda now, body, mid: mid.encode() + b"." + seconds(now) + b"." + body,
                                lambda now, sig, mid: [["webhook-signature", "v1," + sig], ["webhook-id", mid],
                                                       ["webhook-timestamp", str(now)]]),
    "adyen-platform": Preset("hex", "HmacSignature", "base64", lambda now, body, _: body,
                             lambda now, sig, _: [["HmacSignature", sig]]),
}
TIMED = {"stripe": "Stripe-Signature", "slack": "X-Slack-Request-Timestamp", "standard-webhooks": "webhook-timestamp"}


def vector(name, base, expect, **changes):
    made = {"name": name, "source": SELF, "secrets": [base["secret"]], "now": base["now"],
            "headers": copy.deepcopy(base["headers"]), "body": base["body"], "expect": expect, **changes}
    if expect == "valid":
        made.setdefault("matches", 0)
    return made


def with_header(base, name, change):
    """The headers with one changed: a new value, None for none, a list for several."""
    headers = []
    for known, value in base["headers"]:
        values = change(value) if known == name else value
        headers += [[known, value] for value in (values if isinstance(values, list) else [values]) if value is not None]
    return headers


def other(character):
    return "0" if character != "0" else "1"


def altered(preset, base):
    """What must be refused, or still hold, of one genuine request that is signed whole."""
    name, body, sig = preset.header, base["body"].encode(), dict(base["headers"])[preset.header]
    genuine = preset.signature(base["secret"], base["now"], body, dict(base["headers"]).get("webhook-id", ""))
    change = lambda text: with_header(base, name, lambda value: value.replace(genuine, text))
    wrong = WRONG[preset.secret]
    flipped = b64(bytes([body[0] ^ 1]) + body[1:])
    yield vector("tampered body", base, "signature_mismatch", body_base64=flipped)
    yield vector("body cut short", base, "signature_mismatch", body=base["body"][:-1])
    yield vector("body with a line break more", base, "signature_mismatch", body=base["body"] + "\n")
    yield vector("empty body", base, "signature_mismatch", body="")
    yield vector("tampered signature", base, "signature_mismatch", headers=change(other(genuine[0]) + genuine[1:]))
    yield vector("wrong secret", base, "signature_mismatch", secrets=[wrong])
    yield vector("second of two secrets", base, "valid", secrets=[wrong, base["secret"]], matches=1)
    yield vector("signature header missing", base, "signature_missing", headers=with_header(base, name, lambda value: None))
    yield vector("signature header twice", base, "signature_duplicated", headers=with_header(base, name, lambda value: [value, value]))
    yield vector("genuine signature behind a wrong one in a second header", base, "signature_duplicated",
                 headers=with_header(base, name, lambda value: [value.replace(genuine, "0" + genuine[1:]), value]))
    yield vector("signature header empty", base, "signature_malformed", headers=with_header(base, name, lambda value: ""))
    yield vector("signature cut short", base, "signature_malformed", headers=change(genuine[:-4]))
    yield vector("signature empty", base, "signature_malformed", headers=change(""))
    yield vector("signature with white space inside", base, "signature_malformed", headers=change(genuine[:8] + " " + genuine[8:]))
    if preset.encoding == "hex":
        yield vector("signature in upper case", base, "signature_malformed", headers=change(genuine.upper()))
        yield vector("signature in base64", base, "signature_malformed", headers=change(b64(bytes.fromhex(genuine))))
    else:
        yield vector("signature without padding", base, "signature_malformed", headers=change(genuine.rstrip("=")))
        loose = genuine[:-2] + chr(ord(genuine[-2]) + 1) + "="
        yield vector("signature with bits after its end", base, "signature_malformed", headers=change(loose))
        yield vector("signature in hex", base, "signature_malformed", headers=change(base64.b64decode(genuine).hex()))
    message_id = dict(base["headers"]).get("webhook-id", "")
    yield vector("empty body, signed", base, "valid", body="", headers=preset.headers(base["secret"], base["now"], b"", message_id))
    binary = b"\xff\xfe\x00{\r\n"
    yield vector("body that is not UTF-8, signed", base, "valid", body_base64=b64(binary),
                 headers=preset.headers(base["secret"], base["now"], binary, message_id))


def timed(preset, base, name):
    """What the time of sending adds."""
    now, tolerance, body = base["now"], 300, base["body"].encode()
    message_id = dict(base["headers"]).get("webhook-id", "")
    stamp = lambda text: with_header(base, name, lambda value: value.replace(str(now), text))
    yield vector("as old as is tolerated", base, "valid", now=now + tolerance)
    yield vector("as new as is tolerated", base, "valid", now=now - tolerance)
    yield vector("stale", base, "timestamp_stale", now=now + tolerance + 1)
    yield vector("future", base, "timestamp_future", now=now - tolerance - 1)
    yield vector("a day in the future", base, "timestamp_future", now=now - 86_400)
    yield vector("stale and of another secret", base, "signature_mismatch", now=now + 86_400, secrets=[WRONG[preset.secret]])
    yield vector("timestamp brought up to date", base, "signature_mismatch", now=now + 600, headers=stamp(str(now + 600)))
    for bad in ("", f"+{now}", f"-{now}", f"{now}.0", f"0x{now:x}", "99999999999999999999", "9223372036854775807", "now"):
        yield vector(f"timestamp {bad.replace(str(now), '<now>')!r}", base, "signature_malformed", headers=stamp(bad))
    headers = preset.headers(base["secret"], now * 1000, body, message_id)
    yield vector("timestamp in milliseconds, signed", base, "timestamp_future", headers=headers)
    if name != preset.header:
        yield vector("timestamp header missing", base, "signature_missing", headers=with_header(base, name, lambda value: None))
        yield vector("timestamp header twice", base, "signature_duplicated", headers=with_header(base, name, lambda value: [value, value]))


def special(name, base):
    """What only one provider's way of writing has."""
    headers = lambda change: with_header(base, PRESETS[name].header, change)
    if name == "github":
        yield vector("only the SHA-1 signature", base, "signature_missing",
                     headers=[["X-Hub-Signature", "sha1=" + hmac.new(base["secret"].encode(), base["body"].encode(), hashlib.sha1).hexdigest()]])
        yield vector("prefix of another algorithm", base, "signature_malformed", headers=headers(lambda value: value.replace("sha256=", "sha1=")))
        yield vector("prefix in upper case", base, "signature_malformed", headers=headers(lambda value: value.replace("sha256=", "SHA256=")))
    if name == "slack":
        yield vector("another version", base, "signature_malformed", headers=headers(lambda value: value.replace("v0=", "v1=")))
    if name == "stripe":
        wrong = "0" * 64
        stamp, genuine = dict(base["headers"])["Stripe-Signature"].split(",")
        yield vector("two signatures, the second is genuine", base, "valid", headers=headers(lambda value: f"{stamp},v1={wrong},{genuine}"))
        yield vector("pieces in another order, with spaces", base, "valid", headers=headers(lambda value: f"{genuine}, v0=x, {stamp}"))
        yield vector("only v0", base, "signature_missing", headers=headers(lambda value: value.replace("v1=", "v0=")))
        yield vector("two times", base, "signature_duplicated", headers=headers(lambda value: f"{stamp},{value}"))
        yield vector("no time", base, "signature_missing", headers=headers(lambda value: genuine))
        yield vector("a piece without a name", base, "signature_malformed", headers=headers(lambda value: value + ",x"))
        yield vector("sixteen signatures", base, "valid", headers=headers(lambda value: f"{stamp}" + f",v1={wrong}" * 15 + f",{genuine}"))
        yield vector("seventeen signatures", base, "signature_malformed", headers=headers(lambda value: f"{stamp}" + f",v1={wrong}" * 16 + f",{genuine}"))
    if name == "standard-webhooks":
        wrong = "v1," + b64(bytes(32))
        yield vector("two signatures, the second is genuine", base, "valid", headers=headers(lambda value: f"{wrong} {value}"))
        yield vector("beside a public-key signature", base, "valid", headers=headers(lambda value: f"v1a,{b64(bytes(64))} {value}"))
        yield vector("only a public-key signature", base, "signature_missing", headers=headers(lambda value: "v1a," + b64(bytes(64))))
        yield vector("another id", base, "signature_mismatch", headers=with_header(base, "webhook-id", lambda value: value + "0"))
        yield vector("id missing", base, "signature_missing", headers=with_header(base, "webhook-id", lambda value: None))
        yield vector("id twice", base, "signature_duplicated", headers=with_header(base, "webhook-id", lambda value: [value, "msg_other"]))
        dotted = PRESETS[name].headers(base["secret"], base["now"], base["body"].encode(), "msg.1")
        yield vector("id with a full stop, which could move into the time", base, "signature_malformed", headers=dotted)


def adyen(batch, single):
    """Adyen's items, each signed in itself."""
    key = bytes.fromhex(batch["secret"])

    def changed(name, expect, change, base=batch, resign=False, **more):
        body = json.loads(base["body"])
        items = [element["NotificationRequestItem"] for element in body["notificationItems"]]
        change(body, items)
        for item in items if resign else []:
            item["additionalData"]["hmacSignature"] = adyen_item(key, item)
        return vector(name, base, expect, body=json.dumps(body, separators=(",", ":")), **more)

    def set_in(number, **fields):
        return lambda body, items: items[number].update(fields)

    def sign_in(number, text):
        return lambda body, items: items[number]["additionalData"].update(hmacSignature=text)

    genuine = json.loads(single["body"])["notificationItems"][0]["NotificationRequestItem"]["additionalData"]["hmacSignature"]
    wrong_key = bytes.fromhex(WRONG["hex"])
    yield vector("wrong secret", batch, "signature_mismatch", secrets=[WRONG["hex"]])
    yield vector("second of two secrets", batch, "valid", secrets=[WRONG["hex"], batch["secret"]], matches=1)
    for number in (0, 1):
        yield changed(f"item {number}: tampered amount", "signature_mismatch", set_in(number, amount={"value": 1, "currency": "JPY"}))
        yield changed(f"item {number}: tampered signature", "signature_mismatch", sign_in(number, b64(bytes(32))))
        yield changed(f"item {number}: signature missing", "signature_missing", set_in(number, additionalData={}))
        yield changed(f"item {number}: signature null", "signature_missing", sign_in(number, None))
        yield changed(f"item {number}: signature empty", "signature_malformed", sign_in(number, ""))
        yield changed(f"item {number}: signature is a number", "signature_malformed", sign_in(number, 7))
        yield changed(f"item {number}: signature cut short", "signature_malformed", sign_in(number, genuine[:-4]))
        yield changed(f"item {number}: signature without padding", "signature_malformed", sign_in(number, genuine.rstrip("=")))
    yield changed("items signed under two keys", "signature_mismatch",
                  lambda body, items: items[1]["additionalData"].update(hmacSignature=adyen_item(wrong_key, items[1])),
                  secrets=[batch["secret"], WRONG["hex"]])
    yield changed("an item unlike the others behind them", "signature_malformed", lambda body, items: body["notificationItems"].append({"x": 1}))
    yield changed("no items: nothing is signed by anyone", "signature_missing", lambda body, items: body.update(notificationItems=[]))
    yield changed("items are no array", "signature_malformed", lambda body, items: body.update(notificationItems={}))
    yield changed("items are not there", "signature_malformed", lambda body, items: body.pop("notificationItems"))
    yield changed("an amount of 1.0 is no integer", "signature_malformed", set_in(0, amount={"value": 1.0, "currency": "JPY"}))
    yield changed("an object where text is signed", "signature_malformed", set_in(0, merchantReference={"a": 1}))
    yield changed("fields that are not signed may differ: they are not covered", "valid", set_in(0, reason="Quite another reason"))
    yield changed("success as true instead of its text", "signature_malformed", set_in(1, success=True))
    yield changed("border between two fields moved", "signature_malformed",
                  set_in(0, merchantAccountCode="AcmeNL:order", merchantReference="4711"))
    yield changed("the largest integer, exactly", "valid", set_in(0, amount={"value": 2**63 - 1, "currency": "JPY"}), resign=True)
    yield changed("an integer beyond 64 bits", "body_unreadable", set_in(0, amount={"value": 2**63, "currency": "JPY"}), resign=True)
    yield vector("a key stands twice", batch, "body_unreadable",
                 body=batch["body"].replace('"success":"true"', '"success":"false","success":"true"'))
    yield vector("not JSON", batch, "body_unreadable", body="live=false")
    yield vector("body cut short", batch, "body_unreadable", body=batch["body"][:-1])
    yield vector("empty body", batch, "body_unreadable", body="")


def genuine_vectors():
    vectors = json.loads((HERE / "genuine.json").read_text())
    body = '{"id":820982911946154508,"email":"jon@example.com","total_price":"398.00","line_items":[{"title":"Café ☕"}]}\n'
    secret, now = "shpss_41c8d3f6b2a97e5008d1", 1_762_420_801
    vectors.append({"name": "shopify-order", "preset": "shopify", "source": SELF, "secret": secret, "now": now,
                    "headers": PRESETS["shopify"].headers(secret, now, body.encode()), "body": body})
    return vectors


def check(preset, base):
    """Every genuine signature, computed again here."""
    if base["preset"] == "adyen":
        for element in json.loads(base["body"])["notificationItems"]:
            item = element["NotificationRequestItem"]
            assert adyen_item(bytes.fromhex(base["secret"]), item) == item["additionalData"]["hmacSignature"], base["name"]
        return
    headers = dict(base["headers"])
    made = dict(preset.headers(base["secret"], base["now"], base["body"].encode(), headers.get("webhook-id", "")))
    assert made == headers, base["name"]


def main():
    genuine = genuine_vectors()
    for name in sorted({base["preset"] for base in genuine}):
        own = [base for base in genuine if base["preset"] == name]
        for base in own:
            check(PRESETS.get(name), base)
        vectors = [vector(base["name"], base, "valid", source=base["source"]) for base in own]
        base = own[0]
        if name == "adyen":
            vectors += adyen(own[-1], base)
        else:
            vectors += altered(PRESETS[name], base)
            vectors += timed(PRESETS[name], base, TIMED[name]) if name in TIMED else []
            vectors += special(name, base)
        text = json.dumps({"preset": name, "vectors": vectors}, indent=1, ensure_ascii=False)
        (HERE / f"{name}.json").write_text(text + "\n")
        print(f"{name}: {len(vectors)}")


if __name__ == "__main__":
    main()
