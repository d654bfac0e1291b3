// An OpenID Connect provider for tests: the `oidc-provider` package, with one client, two people and a key of each kind.
// Arguments: port, certificate, key, JSON of { redirect, keys, algorithm }.
import https from 'node:https'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const [port, certificate, key, settings] = process.argv.slice(2)
const { redirect, keys, algorithm, packages } = JSON.parse(settings)
const { default: Provider } = await import(pathToFileURL(createRequire(`${packages}/x.js`).resolve('oidc-provider')))
const issuer = `https://127.0.0.1:${port}`
const groups = { ada: ['staff', 'ops'], grace: ['staff'] }
const client = {
  client_id: 'certwright',
  client_secret: 's3cr3t/of+ours',
  redirect_uris: [redirect],
  grant_types: ['authorization_code'],
  response_types: ['code'],
  id_token_signed_response_alg: algorithm,
}
const provider = new Provider(issuer, {
  clients: [client, { ...client, client_id: 'another', redirect_uris: ['https://another.example/back'] }],
  claims: { openid: ['sub'], profile: ['groups'], email: ['email'] },
  conformIdTokenClaims: false,
  cookies: { keys: ['of a test'] },
  jwks: { keys },
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
  pkce: { required: () => true },
  findAccount: (_context, id) => ({ accountId: id, claims: async () => ({ sub: id, groups: groups[id] ?? [] }) }),
})
const tls = { cert: readFileSync(certificate), key: readFileSync(key) }
https.createServer(tls, provider.callback()).listen(Number(port), '127.0.0.1', () => console.log('serving'))
