"""Calls the gateway with a Python library, as it is: only the address and the key are the gateway's.

    python python_calls.py CLIENT ADDRESS KEY STEP...

ADDRESS is where the gateway listens, such as http://localhost:8024; STEP is call, list or
batch; of some also add and batch_add.
One JSON line per step, with what the library answered or what it said when it failed. Where
CLOCK_RATE is set, pauses of asyncio pass so many times as fast.
"""

import asyncio
import json
import os
import selectors
import sys
import warnings
from urllib.parse import urlsplit


def main():
    client, address, key, *steps = sys.argv[1:]
    # Advice on the library's own use, such as on lists that are sorted, is not what is tested.
    warnings.simplefilter("ignore")
    if "CLOCK_RATE" in os.environ:
        asyncio.set_event_loop_policy(Hurry(float(os.environ["CLOCK_RATE"])))
    made = CLIENTS[client](address, key)
    for name in steps:
        try:
            line = {"step": name, "ok": True, "result": made[name]()}
        except BaseException as error:  # whatever the library raises is the finding
            line = {"step": name, "ok": False, "result": whole_story(error)}
        print(json.dumps(line, ensure_ascii=False), flush=True)


class Hurry(asyncio.DefaultEventLoopPolicy):
    """Event loops whose clock goes faster than the wall's."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def new_event_loop(self):
        rate = self.rate

        class Selector(selectors.DefaultSelector):
            def select(self, timeout=None):
                return super().select(timeout and timeout / rate)

        class Loop(asyncio.SelectorEventLoop):
            def time(self):
                return super().time() * rate

        return Loop(Selector())


def whole_story(error):
    """What a person sees: the exception and those that led to it, without the source lines."""
    parts = []
    while error is not None:
        parts += [f"{type(error).__name__}: {error}", *map(str, getattr(error, "args", ()))]
        error = error.__cause__ or error.__context__
    return " <- ".join(parts)


def deals_of(deals):
    """The number of deals; one that comes twice or not at all is a page that went wrong."""
    assert len({deal["ID"] for deal in deals}) == len(deals), "a deal came twice"
    return len(deals)


def fast_bitrix24(address, key):
    from fast_bitrix24 import Bitrix

    return of_fast_bitrix24(Bitrix(f"{address}/rest/1/{key}/", verbose=False))


def fast_bitrix24_oauth(address, key):
    """The library's OAuth manner: it asks for a token and sends it as `auth` in the JSON."""
    from fast_bitrix24 import Bitrix

    asked = 0

    async def token():
        nonlocal asked
        asked += 1
        # Everything that goes round in circles passes here, without a pause of its own.
        if asked > 20:
            raise RuntimeError("the library asks for tokens in a loop")
        return key

    bitrix = Bitrix(f"{address}/rest/", token_func=token, verbose=False)
    return {**of_fast_bitrix24(bitrix), "tokens": lambda: asked}


def of_fast_bitrix24(bitrix):
    def batch():
        cmd = {"me": "user.current", "deals": "crm.deal.list?filter[>ID]=0&start=0"}
        result = bitrix.call_batch({"halt": 0, "cmd": cmd})
        return [result["me"]["NAME"], len(result["deals"])]

    def call():
        result = bitrix.call("user.current", raw=True)["result"]
        return result["NAME"]

    return {
        "call": call,
        "list": lambda: deals_of(bitrix.get_all("crm.deal.list", {"filter": {">ID": 0}})),
        "batch": batch,
    }


def b24pysdk(address, key):
    from b24pysdk import BitrixWebhook, Client

    return of_b24pysdk(Client(BitrixWebhook(domain=urlsplit(address).netloc, webhook_token=f"1/{key}")))


def b24pysdk_oauth(address, key):
    from b24pysdk import BitrixApp, BitrixToken, Client

    app = BitrixApp(client_id="local.client", client_secret="secret")
    token = BitrixToken(
        domain=urlsplit(address).netloc, auth_token=key, refresh_token="none", bitrix_app=app
    )
    return of_b24pysdk(Client(token))


def of_b24pysdk(client):
    def batch():
        calls = {"me": client.user.current(), "deals": client.crm.deal.list(filter={">ID": 0})}
        result = client.call_batch(calls).result.result
        return [result["me"]["NAME"], len(result["deals"])]

    def add():
        return client.crm.deal.add(fields={"TITLE": "new"})

    def batch_add():
        calls = {"me": client.user.current(), "deal": add()}
        return client.call_batch(calls).result.result["deal"]

    return {
        "call": lambda: client.user.current().result["NAME"],
        "list": lambda: deals_of(client.crm.deal.list(filter={">ID": 0}).as_list().result),
        "batch": batch,
        "add": lambda: add().result,
        "batch_add": batch_add,
    }


def bitrix24_rest(address, key):
    from bitrix24 import Bitrix24

    bitrix = Bitrix24(f"{address}/rest/1/{key}/")

    def run(method, params=None):
        async def calling():
            return await bitrix.callMethod(method, params)

        return asyncio.run(calling())

    return {
        "call": lambda: run("user.current")["NAME"],
        "list": lambda: deals_of(run("crm.deal.list", {"filter": {">ID": 0}})),
    }


def pybitrix24(address, key):
    from pybitrix24 import Bitrix24

    bitrix = Bitrix24(urlsplit(address).netloc, user_id=1)

    def result(method, params=None):
        answer = bitrix.call_webhook(key, method, params)
        if "error" in answer:
            raise RuntimeError(json.dumps(answer))
        return answer["result"]

    def batch():
        calls = {"me": "user.current", "deals": ("crm.deal.list", {"filter": {">ID": 0}})}
        result = bitrix.call_batch_webhook(key, calls)["result"]["result"]
        return [result["me"]["NAME"], len(result["deals"])]

    # It does not page; what comes is the first page.
    return {
        "call": lambda: result("user.current")["NAME"],
        "list": lambda: deals_of(result("crm.deal.list", {"filter": {">ID": 0}})),
        "batch": batch,
    }


def b24api(address, key):
    from b24api import Bitrix24
    from b24api.settings import Settings

    bitrix = Bitrix24(settings=Settings(webhook_url=f"{address}/rest/1/{key}/"))

    def batch():
        requests = [
            {"method": "user.current", "parameters": {}},
            {"method": "crm.deal.list", "parameters": {"filter": {">ID": 0}}},
        ]
        me, deals = bitrix.batch(requests)
        return [me["NAME"], len(deals)]

    deals = {"method": "crm.deal.list", "parameters": {"filter": {">ID": 0}}}
    return {
        "call": lambda: bitrix.call({"method": "user.current", "parameters": {}})["NAME"],
        "list": lambda: deals_of(list(bitrix.list_batched(deals))),
        "batch": batch,
    }


CLIENTS = {
    "fast_bitrix24": fast_bitrix24,
    "fast_bitrix24 token_func": fast_bitrix24_oauth,
    "b24pysdk": b24pysdk,
    "b24pysdk OAuth": b24pysdk_oauth,
    "bitrix24-rest": bitrix24_rest,
    "pybitrix24": pybitrix24,
    "b24api": b24api,
}

if __name__ == "__main__":
    main()
