// Shows certificates to Node: to crypto.X509Certificate, and to TLS on loopback, servers and clients alike.
//
// Reads JSON from standard input and writes JSON to standard output, so that one start serves any number of cases:
//
//   inspect      NAME -> { certificate, issuer, stranger, hosts, addresses, emails }, files and names to ask about
//   handshakes   NAME -> { server: SIDE, client: SIDE, name }; a SIDE is { chain, key, ca: [FILE], crls: [FILE] }, files
//                throughout; `name` is what the client calls the server, null if it knows it by its SPIFFE ID
//
// Every handshake is made twice. Once nobody insists, to learn what each side thinks of the other: a code of OpenSSL's,
// or null if it trusts it. Then both insist, as they would in service, to see whether the client is welcomed.

'use strict';

const { X509Certificate } = require('node:crypto');
const { readFileSync } = require('node:fs');
const tls = require('node:tls');

const WELCOME = 'welcome';
const read = (file) => readFileSync(file);

function inspect({ certificate, issuer, stranger, hosts, addresses, emails }) {
  const leaf = new X509Certificate(read(certificate));
  const [ours, theirs] = [issuer, stranger].map((file) => new X509Certificate(read(file)));
  return {
    verified: leaf.verify(ours.publicKey),
    issued: leaf.checkIssued(ours),
    verifiedByStranger: leaf.verify(theirs.publicKey),
    issuedByStranger: leaf.checkIssued(theirs),
    isCa: leaf.ca,
    serial: leaf.serialNumber,
    names: leaf.subjectAltName,
    usages: leaf.keyUsage,
    validTo: Date.parse(leaf.validTo) / 1000,
    hosts: hosts.filter((name) => leaf.checkHost(name) !== undefined),
    addresses: addresses.filter((name) => leaf.checkIP(name) !== undefined),
    emails: emails.filter((name) => leaf.checkEmail(name) !== undefined),
  };
}

function context({ chain, key, ca, crls }, insists) {
  const own = chain ? { cert: read(chain), key: read(key) } : {};
  return { ...own, ca: ca.map(read), crl: crls.map(read), rejectUnauthorized: insists };
}

function handshake({ server, client, name }, insist) {
  return new Promise((resolve) => {
    const seen = { ofClient: null, ofServer: null, welcomed: false, failed: null };
    const listener = tls.createServer({ ...context(server, insist), requestCert: true }, (socket) => {
      seen.ofClient = socket.authorized ? null : code(socket.authorizationError);
      socket.on('error', () => {});
      socket.end(WELCOME);
    });
    listener.on('tlsClientError', () => {});
    listener.listen(0, '127.0.0.1', () => {
      const options = { ...context(client, insist), host: '127.0.0.1', port: listener.address().port };
      options.servername = name ?? '';
      if (name === null) options.checkServerIdentity = () => undefined;
      const socket = tls.connect(options, () => {
        seen.ofServer = socket.authorized ? null : code(socket.authorizationError);
      });
      let text = '';
      socket.setEncoding('utf8');
      socket.on('data', (part) => { text += part; });
      socket.on('error', (error) => { seen.failed = error.code; });
      socket.on('close', () => {
        seen.welcomed = text === WELCOME;
        listener.close(() => resolve(seen));
      });
    });
  });
}

const code = (error) => error.code ?? error;

async function main() {
  const { inspect: certificates, handshakes } = JSON.parse(readFileSync(0));
  const answer = { version: process.versions.openssl, inspect: {}, handshakes: {} };
  for (const [name, one] of Object.entries(certificates)) answer.inspect[name] = inspect(one);
  for (const [name, one] of Object.entries(handshakes)) {
    const { ofClient, ofServer } = await handshake(one, false);
    const { welcomed, failed } = await handshake(one, true);
    answer.handshakes[name] = { ofClient, ofServer, welcomed, failed };
  }
  process.stdout.write(JSON.stringify(answer));
}

main();
