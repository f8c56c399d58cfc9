"""Attackers who reach the broker: as the user of one agent, or as one that may write anything."""
