// Asks the browser for the passkey that a form of this page is about, and sends the form
// with its answer. Nothing here is secret, and nothing is decided here.
'use strict';

const bytes = (text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
const named = (list) => list.map((one) => ({ ...one, id: bytes(one.id) }));

async function create(options) {
  const made = await navigator.credentials.create({
    publicKey: { ...options, challenge: bytes(options.challenge), user: { ...options.user, id: bytes(options.user.id) }, excludeCredentials: named(options.excludeCredentials) },
  });
  return answer(made, { attestationObject: text(made.response.attestationObject) });
}

async function get(options) {
  const used = await navigator.credentials.get({
    publicKey: { ...options, challenge: bytes(options.challenge), allowCredentials: named(options.allowCredentials) },
  });
  const { authenticatorData, signature, userHandle } = used.response;
  return answer(used, { authenticatorData: text(authenticatorData), signature: text(signature), ...(userHandle && { userHandle: text(userHandle) }) });
}

const answer = (credential, response) => JSON.stringify({
  id: credential.id, rawId: text(credential.rawId), type: credential.type, clientExtensionResults: {},
  response: { clientDataJSON: text(credential.response.clientDataJSON), ...response },
});

const why = {
  NotAllowedError: 'No passkey was used: it was not unlocked in time, or this device has none for here. Try again.',
  InvalidStateError: 'This device has a passkey for you already.',
  SecurityError: 'Open this page at the network’s own address: a passkey is bound to it.',
};

for (const form of document.querySelectorAll('form[data-passkey]')) {
  const button = form.querySelector('button');
  const said = form.querySelector('[role=status]');
  if (!window.PublicKeyCredential) {
    said.textContent = 'This browser has no passkeys here: they need https, or localhost.';
    continue;
  }
  button.disabled = false;
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    button.disabled = true;
    said.textContent = 'Unlock your passkey.';
    try {
      const ask = form.dataset.passkey === 'create' ? create : get;
      form.elements.answer.value = await ask(JSON.parse(form.dataset.options));
      form.submit();
    } catch (e) {
      said.textContent = why[e.name] ?? 'The browser could not use a passkey: ' + e.name + '.';
      button.disabled = false;
    }
  });
}
