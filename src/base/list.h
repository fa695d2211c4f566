/* An intrusive, doubly linked, circular list.
 *
 * A node is embedded in the object that is listed; the head is a node of its
 * own. A zeroed node is in no list, and list_remove() of it does nothing, so
 * that removal is idempotent.
 *
 * Threads: none; the owner of the objects.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_LIST_H
#define OPQ_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next; /* borrowed; NULL when in no list */
    struct list *prev; /* borrowed; NULL when in no list */
};

/* Make an empty list of `head`. */
static inline void list_init(struct list *head)
{
    head->next = head;
    head->prev = head;
}

/* Tell whether a node is in some list. */
static inline bool list_linked(const struct list *node)
{
    return node->next != NULL;
}

/* Tell whether a list has no nodes. */
static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

/* Put `node`, which is in no list, at the end. */
static inline void list_append(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

/* Put `node`, which is in no list, at the beginning. */
static inline void list_prepend(struct list *head, struct list *node)
{
    list_append(head->next, node);
}

/* Take a node out of its list; does nothing when it is in none. */
static inline void list_remove(struct list *node)
{
    if (node->next == NULL) {
        return;
    }
    node->next->prev = node->prev;
    node->prev->next = node->next;
    node->next = NULL;
    node->prev = NULL;
}

/* Take the first node out and return it; NULL when the list is empty. */
static inline struct list *list_take_first(struct list *head)
{
    struct list *node = head->next;
    if (node == head) {
        return NULL;
    }
    /* As list_remove(), written so that it is seen to change `head`. */
    head->next = node->next;
    node->next->prev = head;
    node->next = NULL;
    node->prev = NULL;
    return node;
}

#endif
