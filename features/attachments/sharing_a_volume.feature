@wire
Feature: Sharing a volume
  A multiattach volume serves as many as ask. Its status follows from its
  attachments, the strongest first, and is never written beside them; taking one
  holder off leaves the others alone.

  Rule: As many hold it as ask

    Scenario: A second instance
      Given an available multiattach volume "scratch"
      And "web-1" has attached "scratch"
      When "web-2" reserves "scratch"
      Then "scratch" is in-use
      And "scratch" has 2 attachments

    Scenario: It stays in use until the last lets go
      Given an available multiattach volume "scratch"
      And "web-1" has attached "scratch"
      And "web-2" has attached "scratch"
      When "web-1" lets go of "scratch"
      Then "scratch" is in-use

    @lvm
    Scenario: The last one lets go
      Given an available multiattach volume "scratch"
      And "web-1" has attached "scratch"
      And "web-2" has detached "scratch"
      When "web-1" lets go of "scratch"
      Then "scratch" is available

  Rule: It shows the strongest of its attachments

    Scenario: Attached before attaching
      Given an available multiattach volume "scratch"
      And "web-1" has attached "scratch"
      When "scratch" is promised to whoever comes
      Then "scratch" is in-use

    Scenario: Attaching before detaching
      Given an available multiattach volume "scratch"
      And "web-1" is detaching "scratch"
      When "scratch" is promised to whoever comes
      Then "scratch" is attaching

    Scenario: Detaching before reserved
      Given an available multiattach volume "scratch"
      And "web-1" has reserved "scratch"
      And "web-2" has attached "scratch"
      When "scratch" is asked back from "web-2"
      Then "scratch" is detaching

  Rule: It shows what is left when the strongest is gone

    Scenario: Reserved is left
      Given an available multiattach volume "scratch"
      And "web-1" has reserved "scratch"
      And "web-2" has attached "scratch"
      When "web-2" lets go of "scratch"
      Then "scratch" is reserved

    Scenario: Attaching is left
      Given an available multiattach volume "scratch"
      And "web-1" is attaching "scratch"
      And "web-2" has attached "scratch"
      When "web-2" lets go of "scratch"
      Then "scratch" is attaching

  Rule: Taking one holder off leaves the ways of the others

    Scenario: They are on different hosts
      Given an available multiattach volume "scratch" on backend "faulty"
      And "web-1" has attached "scratch" on "node-1" and "web-2" on "node-2"
      When "scratch" is detached from "web-1"
      Then "node-1" does not reach "scratch"
      And "node-2" reaches "scratch"

    Scenario: They are on the same host
      Given an available multiattach volume "scratch" on backend "faulty"
      And "web-1" has attached "scratch" on "node-1" and "web-2" on "node-1"
      When "web-1" lets go of "scratch"
      Then "scratch" has 1 attachment
      And "node-1" reaches "scratch"

    Scenario: The last one on the host
      Given an available multiattach volume "scratch" on backend "faulty"
      And "web-1" has attached "scratch" on "node-1"
      And "web-2" has detached "scratch"
      When "web-1" lets go of "scratch"
      Then no host reaches "scratch"

  Rule: Of the holds of an ordinary volume one at a time is connected

    Scenario: An instance on its way connects while it is connected
      Given an available volume "db"
      And "web-1" has attached "db"
      And "web-1" has reserved "db" once more
      When "web-1 again" connects "db" on "node-2"
      Then the request is refused with "cannot connect while in-use, not multiattach"

    Scenario: It connects when it has let go where it was
      Given an available volume "db"
      And "web-1" is on its way and has let go of "db" where it was
      When "web-1 again" connects "db" on "node-2"
      Then "db" is attaching
