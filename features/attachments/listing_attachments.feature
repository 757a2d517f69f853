@wire
Feature: Listing attachments
  Who holds what is asked from both sides: an operator looks at a volume, a
  scheduler at an instance or a host. What has ended is told to those who ask.

  Rule: Attachments are found by what they tie together

    Scenario: By volume
      Given an available multiattach volume "scratch"
      And "web-1" has attached "scratch"
      And "web-2" has reserved "scratch"
      When "scratch" is looked at
      Then the attachments of "scratch" are those of "web-1, web-2"

    Scenario: By instance
      Given an available volume "db"
      And "web-1" has reserved "db"
      When "db" is looked at
      Then what "web-1" holds is an attachment to "db"

    Scenario: By host
      Given an available volume "db"
      And "node-1" has reserved "db"
      When "db" is looked at
      Then what "node-1" holds is an attachment to "db"

    Scenario: By the host that an instance reaches it from
      Given an available volume "db"
      And "web-1" is attaching "db" on "node-9"
      When "db" is looked at
      Then what "web-1" holds of "db" is an attachment of "node-9"

  Rule: What has ended is left out unless it is asked for

    Scenario: Nobody asks for it
      Given an available volume "db"
      And "web-1" has detached "db"
      When "db" is looked at
      Then no attachment of "db" is listed

    Scenario: Somebody asks for it
      Given an available volume "db"
      And "web-1" has detached "db"
      When "db" is looked at
      Then the detached attachments of "db" are those of "web-1"
