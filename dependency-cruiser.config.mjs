/** The architecture, as rules. The order of this list is the order of the layers. */
const layers = ['crypto', 'contracts', 'protocol', 'runtime', 'sim', 'node'];
const may = {
  crypto: [],
  contracts: [],
  protocol: ['crypto'],
  runtime: ['crypto'],
  sim: ['crypto', 'protocol', 'runtime'],
  node: ['crypto', 'contracts', 'protocol', 'runtime'],
};
const tests = '([.](test|bench|fuzz)[.]ts$|^contracts/test/)';

export default {
  forbidden: [
    ...layers.map((layer) => ({
      name: `${layer}-looks-down-only`,
      severity: 'error',
      from: { path: `^${layer}/`, pathNot: tests },
      to: {
        path: `^(${layers.filter((other) => other !== layer && !may[layer].includes(other)).join('|')})/`,
      },
    })),
    {
      name: 'through-the-front-door',
      severity: 'error',
      // The laboratories vary what is inside the runtime; nothing else may look there.
      from: { path: '^([^/]+)/', pathNot: [tests, '^scripts/attribution'] },
      to: {
        path: `^(${layers.join('|')})/`,
        pathNot: '^$1/',
        dependencyTypesNot: ['aliased-subpath-import'],
      },
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'pure-core',
      severity: 'error',
      from: { path: '^(crypto|protocol|sim)/', pathNot: tests },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'pure-core-packages',
      severity: 'error',
      from: { path: '^(crypto|protocol)/', pathNot: tests },
      to: {
        dependencyTypes: ['npm', 'npm-dev'],
        pathNot: 'node_modules/(@noble|@ipld|multiformats|cborg)/',
      },
    },
    {
      name: 'one-network-module',
      comment:
        'libp2p and Helia are met in one folder, so that their next major touches one folder.',
      severity: 'error',
      from: { path: '^node/', pathNot: ['^node/network/', tests] },
      to: { path: 'node_modules/(libp2p|@libp2p|@chainsafe|helia|@helia|@multiformats|it-pipe)/' },
    },
    {
      name: 'audit-is-independent',
      comment: 'The audit recomputes what the node says; it may share no code with it.',
      severity: 'error',
      from: { path: '^scripts/audit' },
      to: { path: '^node/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|[.]cache|[.]openledger)/' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      conditionNames: ['source', 'import', 'default'],
      exportsFields: ['exports'],
    },
  },
};
