/* Subcommand top: a server's figures, live on a terminal.
 *
 * The terminal is put on its other screen, without a cursor and without echo,
 * and put back however this ends: by a key, by a signal (they come through a
 * descriptor, so that the loop ends in order), or by a fault of ours (a handler
 * that does nothing but that). Ctrl-Z gives it back meanwhile.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_list.h"
#include "cli/cli_top_view.h"
#include "sys/clock.h"
#include "sys/file.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

enum {
    STDIN_FD = 0,
    STDOUT_FD = 1,
    WAIT_MS = 2000, /* for an answer */
    INTERVAL_MS_MIN = 100,
    INTERVAL_MS_MAX = 3600 * 1000,
    WIDTH_OTHERWISE = 80, /* when the terminal does not tell */
    HEIGHT_OTHERWISE = 24,
    PAGE_LINES = 10, /* of the keys page up and page down */
};

static const char enter_text[] = "\033[?1049h\033[?25l\033[?7l";
static const char leave_text[] = "\033[?7h\033[?25h\033[?1049l";

/* How the terminal was; read by the handler of faults, too. */
static struct termios terminal_before;

enum key_state { KEY_PLAIN, KEY_ESCAPE, KEY_BRACKET };

struct top {
    struct cli_call call;
    struct top_view view;
    uint64_t interval_ms;
    uint64_t due_ms; /* monotonic: when to ask again */
    int signal_fd;
    enum key_state key_state;
    bool over;
};

/* --- figures -------------------------------------------------------------- */

static uint64_t now_ms(void)
{
    return clock_monotonic_ns() / 1000000;
}

/* Ask for all figures. Returns as cli_request(). */
static int take_figures(struct top *top)
{
    json_t *info = NULL;

    int code = cli_get_json(&top->call, STR("/opq/info"), &info);
    if (code != CLI_EXIT_OK) {
        return code;
    }
    cli_top_view_take_info(&top->view, info, now_ms());
    code = cli_list_each(&top->call, STR("/opq/topics?limit=1000"), "topics",
                         cli_top_view_take_topic, &top->view);
    if (code == CLI_EXIT_OK) {
        code =
            cli_list_each(&top->call, STR("/opq/endpoints?limit=1000"),
                          "endpoints", cli_top_view_take_endpoint, &top->view);
    }
    return top->view.failed
               ? cli_complain(&top->call, CLI_EXIT_FAILED, "no memory")
               : code;
}

/* Print them once, as they are after an interval, so that there are rates. */
static int print_once(struct top *top)
{
    const struct top_page page = {0, 0};
    struct buf text = {0};

    clock_sleep_ms((uint32_t)top->interval_ms);
    int code = take_figures(top);
    if (code != CLI_EXIT_OK) {
        return code;
    }
    cli_top_view_render(&top->view, &page, &text);
    return cli_print(&text);
}

static json_t *make_document(const struct top_view *view)
{
    json_t *topics = json_array();

    for (size_t index = 0; index < view->topic_count; index++) {
        (void)json_array_append(topics, view->topics[index].item);
    }
    return json_pack("{s:O,s:o,s:O}", "info", view->info, "topics", topics,
                     "endpoints", view->endpoints);
}

/* The same figures for programs, which count rates themselves. */
static int print_json(const struct top *top)
{
    json_t *document = make_document(&top->view);
    bool good = json_dumpf(document, stdout, CLI_JSON) == 0 &&
                fputc('\n', stdout) != EOF;

    json_decref(document);
    return good ? CLI_EXIT_OK : CLI_EXIT_FAILED;
}

/* --- the terminal --------------------------------------------------------- */

static bool write_all(const char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(STDOUT_FD, data, size);
        if (written < 0 && errno != EINTR) {
            return false;
        }
        data += written > 0 ? written : 0;
        size -= written > 0 ? (size_t)written : 0;
    }
    return true;
}

static void leave(void)
{
    (void)write_all(leave_text, sizeof(leave_text) - 1);
    (void)tcsetattr(STDIN_FD, TCSADRAIN, &terminal_before);
}

static void enter(void)
{
    struct termios raw = terminal_before;

    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    (void)tcsetattr(STDIN_FD, TCSADRAIN, &raw);
    (void)write_all(enter_text, sizeof(enter_text) - 1);
}

/* A fault of ours: give the terminal back, then die of it. */
static void fault(int number)
{
    leave();
    (void)raise(number); /* its handler was reset */
}

static enum err open_signals(int *out_fd)
{
    static const int waited[] = {SIGINT,  SIGTERM,  SIGHUP,
                                 SIGQUIT, SIGWINCH, SIGTSTP};
    static const int faults[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    sigset_t set;

    (void)sigemptyset(&set);
    for (unsigned index = 0; index < sizeof(waited) / sizeof(waited[0]);
         index++) {
        (void)sigaddset(&set, waited[index]);
    }
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    for (unsigned index = 0; index < sizeof(faults) / sizeof(faults[0]);
         index++) {
        struct sigaction action = {.sa_handler = fault,
                                   .sa_flags = (int)SA_RESETHAND};
        (void)sigaction(faults[index], &action, NULL);
    }
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    *out_fd = fd;
    return ERR_OK;
}

static void draw(struct top *top)
{
    struct winsize size = {0};
    struct top_page page = {WIDTH_OTHERWISE, HEIGHT_OTHERWISE};
    struct buf text = {0};

    if (ioctl(STDOUT_FD, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 &&
        size.ws_row > 0) {
        page = (struct top_page){size.ws_col, size.ws_row};
    }
    buf_append_c(&text, "\033[H");
    cli_top_view_render(&top->view, &page, &text);
    if (!text.failed && !write_all(text.data, text.size)) {
        top->over = true; /* the terminal has gone */
    }
    buf_fini(&text);
}

/* --- keys and signals ----------------------------------------------------- */

static void press(struct top *top, char key)
{
    switch (key) {
    case 'q':
    case 'Q':
        top->over = true;
        break;
    case 'p':
    case ' ':
        top->view.paused = !top->view.paused;
        break;
    case 's':
        top->view.sort = (enum top_sort)((top->view.sort + 1) % TOP_SORT_COUNT);
        break;
    case 'k':
        cli_top_view_scroll(&top->view, -1);
        break;
    case 'j':
        cli_top_view_scroll(&top->view, 1);
        break;
    default:
        break;
    }
}

/* What stands behind "ESC [" or "ESC O". */
static void press_special(struct top *top, char key)
{
    switch (key) {
    case 'A':
        cli_top_view_scroll(&top->view, -1);
        break;
    case 'B':
        cli_top_view_scroll(&top->view, 1);
        break;
    case '5':
        cli_top_view_scroll(&top->view, -PAGE_LINES);
        break;
    case '6':
        cli_top_view_scroll(&top->view, PAGE_LINES);
        break;
    default:
        break;
    }
}

static void take_key(struct top *top, char key)
{
    if (key == '\033') {
        top->key_state = KEY_ESCAPE;
    } else if (top->key_state == KEY_ESCAPE && (key == '[' || key == 'O')) {
        top->key_state = KEY_BRACKET;
    } else if (top->key_state == KEY_BRACKET) {
        press_special(top, key);
        top->key_state = KEY_PLAIN;
    } else {
        press(top, key);
        top->key_state = KEY_PLAIN;
    }
}

static void read_keys(struct top *top)
{
    char keys[64];
    ssize_t size = read(STDIN_FD, keys, sizeof(keys));

    if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) {
        top->over = true; /* nobody is at the terminal */
    }
    for (ssize_t index = 0; index < size; index++) {
        take_key(top, keys[index]);
    }
}

/* Ctrl-Z: give the terminal back until somebody goes on. */
static void stand_still(void)
{
    leave();
    (void)raise(SIGSTOP);
    enter();
}

static void read_signals(struct top *top)
{
    struct signalfd_siginfo info;

    while (read(top->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGTSTP) {
            stand_still();
        } else if (info.ssi_signo != SIGWINCH) {
            top->over = true;
        }
    }
}

/* --- the loop ------------------------------------------------------------- */

/* Wait for a key, a signal, a time, or a descriptor (-1: none); tell whether
 * that is ready. */
static bool
wait_for_news(struct top *top, uint64_t until_ms, int fd, short events)
{
    struct pollfd waits[] = {
        {.fd = STDIN_FD, .events = POLLIN},
        {.fd = top->signal_fd, .events = POLLIN},
        {.fd = fd, .events = events},
    };
    uint64_t now = now_ms();
    int wait_ms = until_ms > now ? (int)(until_ms - now) : 0;

    if (poll(waits, 3, wait_ms) <= 0) {
        return false;
    }
    if (waits[0].revents != 0) {
        read_keys(top);
    }
    if (waits[1].revents != 0) {
        read_signals(top);
    }
    return waits[2].revents != 0;
}

/* Wait for the server, and hear keys meanwhile: see remote_set_waiter(). What
 * they change is drawn with the figures. */
static enum err
wait_for_server(void *context, int fd, short events, uint32_t wait_ms)
{
    struct top *top = context;
    uint64_t until_ms = now_ms() + wait_ms;

    while (!top->over) {
        if (wait_for_news(top, until_ms, fd, events)) {
            return ERR_OK;
        }
        if (now_ms() >= until_ms) {
            return ERR_TIMEOUT;
        }
    }
    return ERR_CLOSED;
}

static int watch(struct top *top)
{
    if (tcgetattr(STDIN_FD, &terminal_before) != 0 ||
        open_signals(&top->signal_fd) != ERR_OK) {
        return cli_complain(&top->call, CLI_EXIT_FAILED,
                            "this is no terminal: try --once");
    }
    top->call.silent = true;
    remote_set_waiter(top->call.remote, wait_for_server, top);
    top->due_ms = now_ms() + top->interval_ms;
    enter();
    while (!top->over) {
        draw(top);
        (void)wait_for_news(top, top->due_ms, -1, 0);
        if (now_ms() >= top->due_ms) {
            if (!top->view.paused && !top->over) {
                top->view.lost = take_figures(top) != CLI_EXIT_OK;
            }
            top->due_ms = now_ms() + top->interval_ms;
        }
    }
    leave();
    (void)close(top->signal_fd);
    return CLI_EXIT_OK;
}

static int run(struct top *top, const char *interval, bool once)
{
    if (str_to_duration_ms(str_from(interval), &top->interval_ms) != ERR_OK ||
        top->interval_ms < INTERVAL_MS_MIN ||
        top->interval_ms > INTERVAL_MS_MAX) {
        return cli_complain(&top->call, CLI_EXIT_USAGE,
                            "--interval is a duration from 100ms to 1h");
    }
    top->call.wait_ms = WAIT_MS;
    cli_top_view_init(&top->view, top->call.url);
    int code = take_figures(top);
    if (code == CLI_EXIT_OK) {
        bool live = !once && !top->call.json && file_is_terminal(STDIN_FD) &&
                    file_is_terminal(STDOUT_FD);
        code = top->call.json ? print_json(top)
               : live         ? watch(top)
                              : print_once(top);
    }
    cli_top_view_fini(&top->view);
    return code;
}

int cli_top(int argument_count, char *const *arguments)
{
    const char *interval = "1s";
    bool once = false;
    const struct cli_option options[] = {
        {"interval", &interval, NULL, NULL},
        {"once", NULL, &once, NULL},
        {NULL, NULL, NULL, NULL},
    };
    struct top top = {
        .call = {.command = "top",
                 .usage =
                     "[--interval 1s] [--once] [--json]\n"
                     "Watches a server. Keys: q quits, p pauses, s sorts "
                     "otherwise, arrows scroll.\nWith --once, or without a "
                     "terminal, it prints one interval's figures and ends."},
        .signal_fd = -1,
    };
    int code = cli_parse(&top.call, argument_count, arguments, options, 0, 0);

    if (code == CLI_EXIT_OK && !top.call.help) {
        code = run(&top, interval, once);
    }
    cli_call_fini(&top.call);
    return code;
}
