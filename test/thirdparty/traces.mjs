// Reads answers about influence as programs of others do: the GraphML with graphology's
// reader, the PROV-JSON by a schema of what W3C's member submission of 2013 says of its
// parts (§3), with Ajv. Prints the nodes and edges of each, as lists of text.
//
//   REEF_GRAPHML   a file
//   REEF_PROV      a file
import { readFileSync } from 'node:fs';
import Ajv from 'ajv/dist/2020.js';
import graphology from 'graphology';
import graphml from 'graphology-graphml/node/index.js';

const graph = graphml.parse(graphology.MultiDirectedGraph, readFileSync(process.env.REEF_GRAPHML, 'utf8'));
const drawn = {
  nodes: graph.nodes().map(id => `${graph.getNodeAttribute(id, 'role')} ${id}`),
  edges: graph.mapEdges((_, at, from, to) => `${from} ${at.relation} ${to}`),
};

// Of each relation, the two ends that it must have.
const ends = {
  used: ['activity', 'entity'],
  wasGeneratedBy: ['entity', 'activity'],
  wasAssociatedWith: ['activity', 'agent'],
  wasAttributedTo: ['entity', 'agent'],
  actedOnBehalfOf: ['delegate', 'responsible'],
  wasDerivedFrom: ['generatedEntity', 'usedEntity'],
  wasInfluencedBy: ['influencee', 'influencer'],
};
const name = { type: 'string', pattern: '^[A-Za-z_][\\w.-]*:[^\\s]+$' };
const value = {
  anyOf: [
    { type: ['string', 'number', 'boolean'] },
    { type: 'object', required: ['$'], properties: { $: { type: 'string' }, type: name, lang: { type: 'string' } }, additionalProperties: false },
    { type: 'array', items: { $ref: '#/$defs/value' } },
  ],
};
const time = { type: 'string', format: 'date-time', pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?(Z|[+-]\\d\\d:\\d\\d)$' };
const record = (properties, required = []) => ({
  type: 'object',
  propertyNames: name,
  additionalProperties: { type: 'object', propertyNames: name, required, properties, additionalProperties: { $ref: '#/$defs/value' } },
});
const schema = {
  $defs: { value },
  type: 'object',
  required: ['prefix'],
  additionalProperties: false,
  properties: {
    prefix: { type: 'object', additionalProperties: { type: 'string', minLength: 1 } },
    entity: record({}),
    agent: record({}),
    activity: record({ 'prov:startTime': time, 'prov:endTime': time }),
    ...Object.fromEntries(Object.entries(ends).map(([relation, of]) => {
      const both = of.map(end => `prov:${end}`);
      return [relation, record(Object.fromEntries(both.map(end => [end, name])), both)];
    })),
  },
};
const doc = JSON.parse(readFileSync(process.env.REEF_PROV, 'utf8'));
const valid = new Ajv({ strict: false, allErrors: true, validateFormats: false }).compile(schema);
if (!valid(doc)) {
  console.error('that is no PROV-JSON:', JSON.stringify(valid.errors, null, 1));
  process.exit(1);
}
const role = new Map();
for (const kind of ['entity', 'agent', 'activity']) {
  for (const id of Object.keys(doc[kind] ?? {})) {
    if (role.has(id)) throw new Error(`${id} is both ${role.get(id)} and ${kind}`);
    if (!(id.split(':')[0] in doc.prefix)) throw new Error(`${id} has a prefix that is not declared`);
    role.set(id, kind);
  }
}
const told = { nodes: [...role].map(([id, kind]) => `${kind} ${id.slice(id.indexOf(':') + 1)}`), edges: [] };
for (const [relation, of] of Object.entries(ends)) {
  for (const one of Object.values(doc[relation] ?? {})) {
    const [from, to] = of.map(end => one[`prov:${end}`]);
    for (const [i, id] of [from, to].entries()) {
      const want = { entity: 'entity', generatedEntity: 'entity', usedEntity: 'entity', activity: 'activity', agent: 'agent', delegate: 'agent', responsible: 'agent' }[of[i]];
      if (!role.has(id) || want && role.get(id) !== want) throw new Error(`${relation}: ${of[i]} ${id} is ${role.get(id)}`);
    }
    told.edges.push(`${from.slice(from.indexOf(':') + 1)} ${relation} ${to.slice(to.indexOf(':') + 1)}`);
  }
}
console.log(JSON.stringify({ drawn, told }));
