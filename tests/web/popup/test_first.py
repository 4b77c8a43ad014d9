import pathlib
from tests.web.popup.conftest import Shop

S = pathlib.Path("/tmp/popup-shots")


def test_shots(shop: Shop) -> None:
    S.mkdir(exist_ok=True)
    big = {"viewport": {"width": 1280, "height": 800}}
    with shop.browser.visit(**big) as v:
        v.appears()
        v.call("screenshot", str(S / "first.png"))
        print(v.call("audit"))
        v.click("Choose in detail")
        v.appears("Privacy choices", "dialog")
        v.call("screenshot", str(S / "pref.png"))
        print(v.call("audit"))
        v.press("Escape")
        v.click("Reject all")
        v.vanishes()
        print(v.acknowledged())
        v.call("screenshot", str(S / "after.png"))
        print(v.call("audit"))
        print(shop.ledger(v.kept()["anonymous_id"]))
    with shop.browser.visit(gpc=True, **big) as v:
        v.appears()
        v.call("screenshot", str(S / "gpc.png"))
        v.click("Choose in detail")
        v.appears("Privacy choices", "dialog")
        v.call("screenshot", str(S / "gpc-pref.png"))
    with shop.browser.visit(viewport={"width": 390, "height": 780}, isMobile=True, deviceScaleFactor=2) as v:
        v.appears()
        v.call("screenshot", str(S / "phone.png"))
        v.click("Choose in detail")
        v.appears("Privacy choices", "dialog")
        v.call("screenshot", str(S / "phone-pref.png"))
    with shop.browser.visit(attributes='data-language="ar"', **big) as v:
        v.ready()
        v.call("screenshot", str(S / "rtl.png"))
        v.js("candor.open()")
        v.appears("خيارات الخصوصية", "dialog")
        v.call("screenshot", str(S / "rtl-pref.png"))
    with shop.browser.visit(attributes='data-jurisdiction="US-CA" data-language="de"', **big) as v:
        v.ready()
        v.call("screenshot", str(S / "optout.png"))
        v.js("candor.open()")
        v.appears("Datenschutz-Einstellungen" if 0 else "Privacy choices", "dialog") if 0 else None
        v.call("screenshot", str(S / "optout-pref.png"))
        print(v.js("candor.choice()"), v.js("candor.stamp()"), v.js("dataLayer.map(a=>[...a])"))
