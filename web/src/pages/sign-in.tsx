// The way in: by name and password, or the making of the first admin by the one-time link.
import { useState } from "preact/hooks";
import { Problem } from "../parts/messages";
import { firstSecret, signIn, signInProblem } from "../session";

export function SignIn() {
  const [isBusy, setBusy] = useState(false);
  const isFirst = firstSecret.value !== null;
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    setBusy(true);
    await signIn(String(form.get("name")), String(form.get("password")));
    setBusy(false);
  };
  return (
    <main class="gate">
      <section class="panel" aria-labelledby="gate-title">
        <div class="brand">
          <img src="/icon.svg" alt="" width="28" height="28" />
          <span>Fieldpost</span>
        </div>
        <h1 id="gate-title">{isFirst ? "Make the first admin" : "Sign in"}</h1>
        {isFirst && <p class="muted">Choose a name and a password of ten characters or more. You are signed in at once.</p>}
        <form onSubmit={submit}>
          <label>
            Name
            <input id="name" name="name" autocomplete="username" autocapitalize="none" spellcheck={false} required autofocus />
          </label>
          <label>
            Password
            <input
              id="password"
              name="password"
              type="password"
              autocomplete={isFirst ? "new-password" : "current-password"}
              minlength={10}
              required
            />
          </label>
          <button class="primary" disabled={isBusy}>
            {isFirst ? "Make and sign in" : "Sign in"}
          </button>
          <Problem text={signInProblem.value} />
        </form>
      </section>
    </main>
  );
}
