/** `openledger info`: one screen about a running swarm; `--anchors` writes the trusted roots. */
import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { connectChain } from '../chain/client.ts';
import { callApi, callApiBytes, globals, print, readSwarm } from './session.ts';

export function infoCommand(): Command {
  return new Command('info')
    .description('what runs here: chain, nodes, models, datanets')
    .option('--anchors <file>', 'write the roots on chain, for offline verification of receipts')
    .action(async (own: { anchors?: string }, command: Command) => {
      const options = globals(command);
      const swarm = readSwarm(options.dataDir);
      if (own.anchors !== undefined) {
        writeFileSync(
          own.anchors,
          await callApiBytes(swarm.gateway, swarm.token, '/swarm/v1/anchors'),
        );
        print(options, { ok: true, anchors: own.anchors }, `roots written to ${own.anchors}`);
        return;
      }
      const client = await connectChain({
        rpcUrl: swarm.rpc,
        expectedChainId: swarm.chainId,
        privateKey: null,
        patienceMs: 5_000,
      });
      const head = await client.block('latest');
      client.close();
      const status = await callApi<Record<string, unknown>>(
        swarm.gateway,
        swarm.token,
        '/swarm/v1/status',
      );
      const models = await callApi<{ data: { id: string }[] }>(
        swarm.gateway,
        swarm.token,
        '/v1/models',
      );
      const { datanets } = await callApi<{ datanets: { name: string; versionCount: number }[] }>(
        swarm.gateway,
        swarm.token,
        '/swarm/v1/datanets',
      );
      const lines = [
        `swarm      ${swarm.preset}, ${swarm.nodes.length} nodes, gateway ${swarm.gateway}/v1`,
        `chain      ${swarm.rpc} id ${swarm.chainId}, block ${head.number}`,
        ...swarm.nodes.map((node) => `${node.name.padEnd(10)} ${node.address}  ${node.peerId}`),
        `models     ${models.data.map(({ id }) => id).join(', ')}`,
        `datanets   ${datanets.map(({ name, versionCount }) => `${name} (version ${versionCount})`).join(', ') || 'none'}`,
      ];
      print(
        options,
        {
          ok: true,
          preset: swarm.preset,
          rpc: swarm.rpc,
          chainId: swarm.chainId,
          block: head.number,
          gateway: swarm.gateway,
          nodes: swarm.nodes,
          models: models.data.map(({ id }) => id),
          datanets,
          status,
        },
        lines.join('\n'),
      );
    });
}
