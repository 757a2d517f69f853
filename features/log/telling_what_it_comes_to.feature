@wire
Feature: Telling what it comes to
  Two that have the same log come to the same, so an auditor compares one hash
  with what a replay of the log has told elsewhere.

  Rule: The same log comes to the same

    Scenario: Whenever it is asked
      Given an available volume "db"
      When it is told what the log comes to, now and once more as it was then
      Then both are the same

  Rule: Whatever happens changes it

    Scenario: A volume more
      Given an available volume "db"
      And it was told what the log comes to
      When a volume of 1 GiB is created
      Then the log comes to something else, and to a volume more
