@wire
Feature: Disconnecting a host
  A way to a volume is closed for the host that asks, and for no other. Where the
  storage fails the host may still write, and it is said so.

  Background:
    Given an available volume "db" on backend "faulty"

  Rule: A host loses its own way

    Scenario: It is the only one
      Given "node-1" was given a way to "db"
      When "node-1" loses its way to "db"
      Then the request succeeds
      And no host reaches "db"

    Scenario: Another host keeps its own
      Given "node-1" was given a way to "db"
      And "node-2" was given a way to "db"
      When "node-1" loses its way to "db"
      Then "node-2" reaches "db"

    Scenario: It never had one
      Given "node-2" was given a way to "db"
      When "node-1" loses its way to "db"
      Then the request succeeds
      And nothing is recorded

  Rule: A way that an attachment needs stays open

    Scenario: The host has attached the volume as well
      Given "web-1" has attached "db" on "node-1"
      And "node-1" was given a way to "db"
      When "node-1" loses its way to "db"
      Then "node-1" reaches "db"

    Scenario: The attachment ends, and the host keeps the way it was given
      Given "web-1" has attached "db" on "node-1"
      And "node-1" was given a way to "db"
      When "web-1" lets go of "db"
      Then "db" is available
      And "node-1" reaches "db"

  Rule: Where the storage fails, the way may still be open

    Scenario: It is said so
      Given "node-1" was given a way to "db"
      And backend "faulty" fails to disconnect volumes
      When "node-1" loses its way to "db"
      Then the request is refused as fault with "the storage does not answer"
      And "node-1" reaches "db"

    Scenario: It is tried again
      Given "node-1" could not lose its way to "db"
      When "node-1" loses its way to "db"
      Then the request succeeds
      And no host reaches "db"

    Scenario: It is given up by force
      Given "node-1" was given a way to "db"
      And backend "faulty" fails to disconnect volumes
      When "node-1" loses its way to "db" by force
      Then the request succeeds
      And the log of "db" ends with "volume.export_removal_finished"

  Rule: Every way is closed only where nobody uses the volume

    Scenario: Nobody uses it
      Given "node-1" was given a way to "db"
      And "node-2" was given a way to "db"
      When every way to "db" is closed
      Then no host reaches "db"

    Scenario: Somebody uses it
      Given "web-1" has attached "db" on "node-1"
      When every way to "db" is closed
      Then the request is refused with "cannot remove_export while in-use, not unused"
      And "node-1" reaches "db"

    Scenario: Somebody is about to use it
      Given "web-1" is attaching "db"
      When every way to "db" is closed
      Then the request is refused with "cannot remove_export while attaching, not unused"
      And "node-1" reaches "db"
