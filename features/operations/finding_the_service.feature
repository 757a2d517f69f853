@wire
Feature: Finding the service
  Whoever speaks to the broker finds the service as it finds any other, and knows
  by its answer that it is ready.

  Rule: The service answers for itself

    Scenario: It is pinged
      Given an available volume "db"
      When "db" is deleted
      Then the service answers a ping under its name
