@wire
Feature: Watching the service
  Whoever keeps the service running sees whether it can do its work, what it
  answers and what its backends do, without asking it for anything.

  Background:
    Given a service that is watched

  Rule: It says whether it can do its work

    Scenario: Everything that it needs is there
      Given an available volume "db"
      Then the service is alive and ready

  Rule: What it answers and does is counted

    Scenario: A volume is made
      Given an available volume "db"
      Then a "create" of backend "files" is counted as "done"

    Scenario: A request is refused
      Given an available volume "db" of 2 GiB
      When "db" is extended to 1 GiB
      Then a "volume.extend" is counted as "invalid"
