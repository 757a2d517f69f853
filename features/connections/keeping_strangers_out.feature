@lvm
Feature: Keeping strangers out
  Many hosts share a network with the storage. Only the one that a volume was given
  to is let in, with a secret that was told to nobody else, and only as long as it
  holds the volume.

  Background:
    Given an available volume "db"
    And "web-1" is attaching "db" on "node-1"

  Rule: The host that was told the secret is let in

    Scenario: It logs in
      When "node-1" logs in to "db" as "web-1" was told
      Then "node-1" is let in to "db"

    Scenario: Its secret is wrong
      When "node-1" logs in to "db" as "web-1" was told, with a wrong secret
      Then "node-1" is not let in

    Scenario: It has no secret
      When "node-1" logs in to "db" as "web-1" was told, without a secret
      Then "node-1" is not let in

  Rule: No other host is let in

    Scenario: It has overheard the secret
      When "node-2" logs in to "db" as "web-1" was told
      Then "node-2" is not let in

  Rule: Whoever has let go is not let in again

    Scenario: It still has the secret
      Given "web-1" let go of "db"
      When "node-1" logs in to "db" as "web-1" was told
      Then "node-1" is not let in

  Rule: Whoever does not say who would log in is told so at once

    Scenario: It names no initiator
      When a host that says only its name of itself is given a way to "db"
      Then the request is refused as invalid with "reached by iSCSI"
      And nothing is recorded
