// The certified authorization server of npm's `oidc-provider` on a free loopback port, as oidc_provider.py starts it.
//
//     node oidc_provider.mjs FOLDER SETTINGS
//
// FOLDER is that of the package; SETTINGS is JSON. It prints JSON lines: first {"listening": ISSUER}, then {"request": ...}
// for every request before it is answered, and {"reply": ID, ...} for each command that it reads, as JSON lines, from its
// standard input. It ends when that input ends. No line holds a code, a token or a secret.

import { createServer } from 'node:http';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [folder, text] = process.argv.slice(2);
const settings = JSON.parse(text);
const { default: Provider, errors } = await import(pathToFileURL(path.join(folder, 'lib', 'index.js')).href);

// What the package has to say to people goes to stderr: stdout is for JSON lines.
console.info = console.error;
console.log = console.error;

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// --- what it remembers -----------------------------------------------------------------------------------------------

const models = new Map();

/** Everything in memory, in reach of the commands below. */
class Memory {
  constructor(model) {
    if (!models.has(model)) models.set(model, new Map());
    this.entries = models.get(model);
  }

  async upsert(id, payload) { this.entries.set(id, payload); }

  async find(id) { return this.entries.get(id); }

  async findByUid(uid) { return [...this.entries.values()].find((payload) => payload.uid === uid); }

  async findByUserCode(code) { return [...this.entries.values()].find((payload) => payload.userCode === code); }

  async consume(id) { this.entries.get(id).consumed = Math.floor(Date.now() / 1000); }

  async destroy(id) { this.entries.delete(id); }

  async revokeByGrantId(grantId) {
    for (const [id, payload] of this.entries) if (payload.grantId === grantId) this.entries.delete(id);
  }
}

const resources = new Set();

/** Forget all there is of these models; how many things that were. */
const forget = (...names) => {
  let count = 0;
  for (const name of names) {
    count += models.get(name)?.size ?? 0;
    models.get(name)?.clear();
  }
  return { count };
};

const commands = {
  sync: () => ({}),
  add_client: async ({ client }) => { await new Memory('Client').upsert(client.client_id, client); return {}; },
  allow_resource: ({ resource }) => { resources.add(resource); return {}; },
  expire_access_tokens: () => forget('AccessToken'),
  revoke_refresh_tokens: () => forget('RefreshToken'),
  forget_clients: () => forget('Client'),
};

// --- the server ------------------------------------------------------------------------------------------------------

const server = createServer();
await new Promise((listening) => { server.listen(0, '127.0.0.1', listening); });
const issuer = `http://127.0.0.1:${server.address().port}`;

/** Client metadata documents have https addresses; `documents` says at which loopback origin each of those is served. */
const fetchHere = (address, { dispatcher, ...options }) => {
  const url = new URL(address);
  const origin = settings.documents[url.origin];
  if (origin === undefined) throw new TypeError(`no such host: ${url.host}`);
  return fetch(new URL(url.pathname + url.search, origin), options);
};

const provider = new Provider(issuer, {
  adapter: Memory,
  clients: [{
    client_id: settings.resource_server.client_id,
    client_secret: settings.resource_server.client_secret,
    grant_types: [],
    redirect_uris: [],
    response_types: [],
  }],
  cookies: { keys: [settings.cookie_key] },
  fetch: fetchHere,
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  features: {
    clientIdMetadataDocument: { enabled: true, ack: 'draft-02' },
    devInteractions: { enabled: true },
    introspection: { enabled: true },
    registration: { enabled: settings.registration },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, resource) => {
        if (!resources.has(resource)) throw new errors.InvalidTarget();
        return {
          scope: settings.scopes.join(' '),
          audience: resource,
          accessTokenFormat: settings.token_format,
          accessTokenTTL: settings.access_token_lifetime,
        };
      },
    },
    revocation: { enabled: true },
  },
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
  pkce: { required: () => true },
  rotateRefreshToken: true,
  ttl: {
    AccessToken: settings.access_token_lifetime,
    Grant: settings.refresh_token_lifetime,
    Interaction: 600,
    RefreshToken: settings.refresh_token_lifetime,
    Session: settings.refresh_token_lifetime,
  },
});

provider.use(async (ctx, next) => {
  await next();
  if (typeof ctx.body === 'string') {
    // Its pages ask another machine for a font, which no test may.
    ctx.body = ctx.body.replace(/@import url\([^)]*\);/g, '');
  }
  const sent = ctx.oidc?.params ?? {};
  say({
    request: {
      method: ctx.method,
      endpoint: ctx.oidc?.route ?? 'unknown',
      status: ctx.status,
      grant_type: sent.grant_type ?? null,
      resource: sent.resource ?? null,
      scope: sent.scope ?? null,
      client_id: ctx.oidc?.client?.clientId ?? null,
      error: ctx.body?.error ?? null,
    },
  });
});

server.on('request', provider.callback());
say({ listening: issuer });

const input = createInterface({ input: process.stdin });
input.on('line', async (line) => {
  const { id, command, ...rest } = JSON.parse(line);
  say({ reply: id, ...await commands[command](rest) });
});
input.on('close', () => process.exit(0));
