import { $ } from "./shop.js";
import { analytics, candor } from "./tracking.js";

async function show() {
  const account = await (await fetch("/session")).json();
  $("#login").hidden = !!account.name;
  $("#account").hidden = !account.name;
  $("#who").textContent = account.name ?? "";
}

$("#login form").onsubmit = async (event) => {
  event.preventDefault();
  const { name, email } = Object.fromEntries(new FormData(event.target));
  const tag = await candor;
  const answer = await fetch("/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ name, email, choice: tag.choice() }),
  });
  if (!answer.ok) {
    $("#failed").textContent = "That did not work just now. Please try again.";
    return;
  }
  // Only now: what the visitor allowed holds for the account, so the gate lets the event pass.
  const { user_id } = await answer.json();
  analytics.identify(user_id, { first_name: name, email });
  show();
};

$("#logout").onclick = async () => {
  await fetch("/logout", { method: "POST" });
  show();
};

show();
