"""Policies judged by rollouts in a simulator."""
