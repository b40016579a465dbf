"""Reads answers about influence as programs of others do: the GraphML with NetworkX, the
PROV-JSON with the prov package. Prints the nodes and edges of each, as lists of text.

    REEF_GRAPHML   a file
    REEF_PROV      a file
"""

import json
import os
import sys

import networkx
from prov.model import ProvActivity, ProvAgent, ProvDocument, ProvEntity, ProvRelation

graph = networkx.read_graphml(os.environ["REEF_GRAPHML"], force_multigraph=True)
drawn = {
    "nodes": [f"{role} {node}" for node, role in graph.nodes(data="role")],
    "edges": [f"{a} {relation} {b}" for a, b, relation in graph.edges(data="relation")],
}

document = ProvDocument.deserialize(os.environ["REEF_PROV"], format="json")
roles = {}
for role, kind in (("entity", ProvEntity), ("agent", ProvAgent), ("activity", ProvActivity)):
    for record in document.get_records(kind):
        if record.identifier in roles:
            sys.exit(f"{record.identifier} is both {roles[record.identifier]} and {role}")
        roles[record.identifier] = role

# Of each relation, what stands at its two ends; of influence, anything.
ends = {
    "used": ("activity", "entity"),
    "wasGeneratedBy": ("entity", "activity"),
    "wasAssociatedWith": ("activity", "agent"),
    "wasAttributedTo": ("entity", "agent"),
    "actedOnBehalfOf": ("agent", "agent"),
    "wasDerivedFrom": ("entity", "entity"),
    "wasInfluencedBy": (None, None),
}
edges = []
for record in document.get_records(ProvRelation):
    name = record.get_type().localpart
    name = {"Usage": "used", "Generation": "wasGeneratedBy", "Association": "wasAssociatedWith", "Attribution": "wasAttributedTo",
            "Delegation": "actedOnBehalfOf", "Derivation": "wasDerivedFrom", "Influence": "wasInfluencedBy"}[name]
    two = [value for _, value in record.formal_attributes[:2]]
    for identifier, want in zip(two, ends[name]):
        if identifier not in roles or want not in (None, roles[identifier]):
            sys.exit(f"{name}: {identifier} is {roles.get(identifier, 'not declared')}, not {want}")
    edges.append(f"{two[0].localpart} {name} {two[1].localpart}")
told = {"nodes": [f"{role} {identifier.localpart}" for identifier, role in roles.items()], "edges": edges}
print(json.dumps({"drawn": drawn, "told": told}))
