"""Telling people and programs outside what happened."""
