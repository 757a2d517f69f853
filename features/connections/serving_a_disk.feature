@lvm
Feature: Serving a disk
  To a host a volume is a disk: it grows while it is mounted, is read-only where that
  was promised, is the same for all who share it, and is there again when its
  storage was away.

  Rule: A disk grows while it is used

    Scenario: Its host looks again
      Given an available volume "db" of 1 GiB
      And "web-1" uses "db"
      When "db" is extended to 2 GiB
      Then "node-1" sees a disk of 2 GiB for "db"

  Rule: Who may only read cannot write

    Scenario: It tries to
      Given an available volume "books"
      When "web-1" gets "books" on "node-1" for reading
      Then "node-1" cannot write "books"

  Rule: All who share a volume have the same disk

    Scenario: One writes, the other reads
      Given an available multiattach volume "scratch"
      And "web-1" uses "scratch" on "node-1"
      And "web-2" uses "scratch" on "node-2"
      When "node-1" writes "hello" to "scratch"
      Then "node-2" reads "hello" from "scratch"

    Scenario: One lets go, the other keeps it
      Given an available multiattach volume "scratch"
      And "web-1" uses "scratch" on "node-1"
      And "web-2" uses "scratch" on "node-2"
      When "web-1" lets go of "scratch"
      Then "node-1" cannot write "scratch"
      And "node-2" writes "scratch"

  Rule: A disk is there again when its storage was away

    Scenario: The storage's machine restarts under a host that is logged in
      Given an available volume "db"
      And "node-1" waits for a storage that is away
      And "web-1" keeps the file "orders" on "db"
      When the storage's machine loses its power and starts again
      Then "web-1" goes on keeping files on "db"

  Rule: What a host had written for good is in a snapshot, and nothing that it wrote since

    Scenario: A host goes on writing
      Given an available volume "db"
      And "web-1" uses "db" on "node-1"
      And "node-1" wrote "orders" to "db"
      And a snapshot "monday" of "db", taken by force
      And "node-1" wrote "bills" to "db"
      And "copy" was made of the snapshot "monday"
      When "web-2" gets "copy" on "node-2"
      Then "node-2" reads "orders" from "copy"
