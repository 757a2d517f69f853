@wire
Feature: Publishing events
  Whoever wants to know what happens is told everything, in the order in which it
  happened and without a gap; what is told twice is kept once.

  Rule: Everything is told in order

    Scenario: The whole log
      Given an available volume "db"
      When "db" is deleted
      Then "db" is deleted
      And others are told every event of the log, in order and without a gap

  Rule: What is told is what the history says

    Scenario: The life of a volume
      Given "ana" asks because of "the spring sale"
      And a volume "db" was created under the key "order 7"
      When "db" is looked at
      Then others are told of "db" what its history says

  Rule: What is told twice is kept once

    Scenario: A message is sent again
      Given an available volume "db"
      When "db" is looked at
      Then a message that is told twice is kept once
