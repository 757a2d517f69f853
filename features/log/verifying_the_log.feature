@wire
Feature: Verifying the log
  An auditor can tell whether the log is what was written: each event seals all
  before it.

  Rule: A log that nobody touched is intact

    Scenario: All of it
      Given an available volume "db"
      When the log is verified
      Then it is intact from its first event to its last

    Scenario: The newest part
      Given an available volume "db"
      When the newest part of the log is verified
      Then that part is intact

  Rule: What is not there is not vouched for

    Scenario: Beyond its end
      Given an available volume "db"
      When the log is verified beyond its end
      Then the request is refused as invalid with "the log's end"

    Scenario: Backwards
      When the log is verified backwards
      Then the request is refused as invalid
      And nothing is recorded
