"""Calls the gateway with fast_bitrix24, as it is: only the webhook's address is the gateway's.

    python fast_bitrix24_calls.py BASE_URL

One JSON line per step; the exit status is 1 when a step failed. The portal behind the gateway must
know user.current, crm.deal.list, crm.deal.get and batch.
"""

import json
import sys
import warnings

from fast_bitrix24 import Bitrix

DEALS = 3


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python fast_bitrix24_calls.py BASE_URL")
    # Advice on the library's own use, such as on lists that are sorted, is not what is tested.
    warnings.simplefilter("ignore")
    bitrix = Bitrix(sys.argv[1].rstrip("/") + "/rest/1/anykey/", verbose=False)
    failed = False
    ids = []

    def remember(deals):
        assert isinstance(deals, list) and deals, "no deals"
        # Pages come in the order in which they were answered.
        ids.extend(sorted(int(deal["ID"]) for deal in deals)[:DEALS])
        # One that comes twice or not at all is a page that went wrong.
        assert len({deal["ID"] for deal in deals}) == len(deals), "a deal came twice"
        return len(deals)

    steps = {
        "call": lambda: bitrix.call("user.current", {"a": 1}),
        "raw call": lambda: bitrix.call("user.current", raw=True),
        "get_all": lambda: remember(bitrix.get_all("crm.deal.list", {"filter": {">ID": 0}})),
        "get_by_ID": lambda: bitrix.get_by_ID("crm.deal.get", ids),
        "call_batch": lambda: bitrix.call_batch(
            {
                "halt": 0,
                "cmd": {
                    "me": "user.current",
                    "deals": "crm.deal.list?filter[>ID]=0&start=0",
                },
            }
        ),
    }
    for name, run in steps.items():
        try:
            line = {"step": name, "ok": True, "result": run()}
            assert line["result"], "an empty result"
        except Exception as error:  # whatever the library raises is the finding
            line = {"step": name, "ok": False, "result": f"{type(error).__name__}: {error}"}
            failed = True
        print(json.dumps(line, ensure_ascii=False), flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
