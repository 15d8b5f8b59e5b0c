"""What crosses the walls between the houses: ids, units, specs, wire schemas, time, chance, errors, events."""
