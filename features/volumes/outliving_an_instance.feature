@lvm
Feature: Outliving an instance
  An instance may be lost at any moment, with its file system mounted and its host
  still logged in. What it has written for good is there for the next one, wherever
  that runs; what the lost one would still write never gets there.

  Background:
    Given an available volume "db"
    And "web-1" keeps the file "orders" on "db"

  Rule: Whoever gets the volume next finds what was written

    Scenario: Another host, after the instance has died
      Given "web-1" died without a word
      And "db" was taken from "web-1"
      When "web-2" gets "db" on "node-2"
      Then "web-2" finds the file "orders" on "db"

  Rule: Whoever has lost the volume writes no more

    Scenario: Its host is still logged in
      When "web-1" lets go of "db"
      Then "db" is available
      And "node-1" cannot write "db"

  Rule: As long as nobody has taken it from a lost instance, it is held

    Scenario: Another instance asks for it
      Given "web-1" died without a word
      When "web-2" reserves "db"
      Then the request is refused with "cannot reserve while in-use, not multiattach"

    Scenario: It is deleted by force
      Given "web-1" died without a word
      When "db" is deleted by force
      Then the request is refused with "cannot delete while in-use"
