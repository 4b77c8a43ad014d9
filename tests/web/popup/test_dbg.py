import time
from tests.web.popup.test_sdks import BANNER, LAYER, send
def test_dbg(shop):
    for first in ("Accept all","Reject all"):
      with shop.browser.visit(page="rudder") as visit:
        visit.appears(BANNER)
        send(visit, "rudder", "held")
        visit.click(first)
        kept=visit.acknowledged()
        if first=="Reject all":
            visit.js("candor.open()"); visit.appears(LAYER,"dialog"); visit.js("document.querySelector('.pm [data-role=all]').click()"); visit.acknowledged()
        send(visit, "rudder", "after")
        time.sleep(3)
        print(kept["anonymous_id"])
        for r in visit.asked(shop.ingest): print(r["method"], r["url"], r["body"])
        print(visit.call("errors"))
