"""Telling people: what a night has that a channel was not told, in one message, never twice."""
