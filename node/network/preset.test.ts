// The settings that only loopback needs belong to the local preset alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loopbackOnlySettings, networkPreset } from './preset.ts';

/** The defaults of libp2p's connection manager, of gossipsub's scoring and of the DHT. */
const libraryDefaults = {
  ipColocationWeight: -5,
  inboundConnectionsPerSecondMax: 5,
  inboundPendingMax: 10,
  privateAddressesAnnounced: false,
  dhtServerAlways: false,
  silentPeersDropped: true,
};

test('outside the local preset the loopback settings are the libraries’ defaults', () => {
  for (const name of ['testnet', 'mainnet'] as const) {
    const preset = networkPreset(name);
    const settings = loopbackOnlySettings.map((setting) => [setting, preset[setting]]);
    assert.deepEqual(Object.fromEntries(settings), libraryDefaults);
    assert.notEqual(preset.listenHost, '127.0.0.1');
  }
});

test('the local preset differs in every one of them', () => {
  const local = networkPreset('local');
  for (const setting of loopbackOnlySettings) {
    assert.notEqual(local[setting], libraryDefaults[setting], setting);
  }
  assert.equal(local.listenHost, '127.0.0.1');
});
