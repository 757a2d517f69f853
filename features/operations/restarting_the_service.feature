@wire
Feature: Restarting the service
  The service may die at any moment. The next one goes on where it stopped: what
  was answered is kept, what was under way is settled, once and in order.

  Background:
    Given a service that can be killed

  Rule: What was answered is kept

    Scenario: A volume and its holder
      Given an available volume "db" of 2 GiB
      And "web-1" has attached "db"
      When the service is killed and started again
      Then "db" is in-use and has 2 GiB
      And the attachment of "web-1" to "db" is attached

    Scenario: A backend that was disabled
      Given backend "spare" was disabled
      When the service is killed and started again
      Then backend "spare" is disabled because it is "being repaired"

    Scenario: A key
      Given a volume "db" was created under the key "order 7"
      And the service was killed and started again
      When the same is asked again
      Then the answer is the first one again
      And nothing is recorded

  Rule: What was under way is settled

    Scenario: A volume that is being made
      Given "db" is being made
      When the service is killed, backend "faulty" mended, and started again
      Then "db" is available
      And "db" has a storage of 1 GiB

    Scenario: A volume that is being extended
      Given an available volume "db" of 1 GiB on backend "faulty"
      And "db" is being extended to 2 GiB
      When the service is killed, backend "faulty" mended, and started again
      Then "db" is available and has 2 GiB

    Scenario: A volume that is being deleted
      Given an available volume "db" on backend "faulty"
      And "db" is being deleted
      When the service is killed, backend "faulty" mended, and started again
      Then "db" is deleted
      And "db" has no storage

  Rule: What is asked of one volume is done in the order in which it was asked

    Scenario: It was being extended, then deleted by force
      Given a volume "db" that is extending
      And "db" was deleted by force
      When the service is killed, backend "faulty" mended, and started again
      Then "db" is deleted
      And "db" has no storage

  Rule: Nothing is lost and nothing is told twice

    Scenario: Volumes that were just asked for
      Given 20 volumes were just asked for
      When the service is killed and started again
      Then every volume is available and has its storage
      And backend "files" counts what its volumes take
      And others are told every event of the log, in order and without a gap

    Scenario: It is stopped as it should be
      Given 20 volumes were just asked for
      When the service is stopped and started again
      Then every volume is available and has its storage

  Rule: A storage that is out of order at the start is tried again

    Scenario: It is mended later
      Given the service was started while backend "spare" was out of order
      When backend "spare" behaves again
      Then backend "spare" works
