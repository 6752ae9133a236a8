/* config_forwarded.c - clients.trusted_proxies and clients.forwarded. */
#include "base/limits.h"
#include "config_private.h"

static bool is_everybody(const struct ip_net *net) {
    static const struct ip four = {.at = {[10] = 0xff, [11] = 0xff}};
    return net->bits == 0 || (net->bits <= 96 && ip_in(&four, net));
}

static void take_proxy(struct reading *r, const struct yaml_node *at, struct bytes text,
                       struct forwarded_conf *conf, struct ip_net *net) {
    if (bytes_is(text, "unix")) {
        conf->trust_local = true;
        return;
    }
    const char *wrong = text.len > 0 ? ip_net_parse(text, net) : NULL;
    if (wrong != NULL)
        diagnostics_add(&r->d, at->place, at->width, "10.0.0.0/8, \"2001:db8::/32\", unix",
                        "trusted_proxies: '%s': %s", text.at, wrong);
    else if (text.len > 0 && is_everybody(net))
        diagnostics_add(&r->d, at->place, at->width, NULL,
                        "trusted_proxies: '%s' trusts everybody to say who he is", text.at);
    else
        conf->trusted_count++;
}

void config_link_forwarded(struct reading *r, const struct yaml_node *clients) {
    const struct yaml_node *proxies = yaml_get(clients, "trusted_proxies");
    const struct yaml_node *header = yaml_get(clients, "forwarded");
    const struct option_list *list = &r->file->clients.trusted_proxies;
    const struct bytes *texts = list->at;
    const struct yaml_node *n = proxies != NULL ? proxies->first : NULL;
    struct forwarded_conf *conf = &r->c->clients.forwarded;
    if (proxies != NULL && header == NULL)
        diagnostics_add(&r->d, proxies->key_place, proxies->key_width,
                        "forwarded: {header: X-Forwarded-For}",
                        "'trusted_proxies' needs the option 'forwarded' in clients");
    if (proxies == NULL && header != NULL)
        diagnostics_add(&r->d, header->key_place, header->key_width, "trusted_proxies: [...]",
                        "'forwarded' has no use without 'trusted_proxies'");
    struct ip_net *nets = config_array(r, list->count, sizeof(*nets));
    if (nets == NULL)
        return;
    conf->header = r->file->clients.forwarded_header;
    conf->trusted = nets;
    for (uint32_t i = 0; i < list->count && n != NULL; i++, n = n->next)
        take_proxy(r, n, texts[i], conf, &nets[conf->trusted_count]);
}
