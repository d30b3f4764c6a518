-- Why: a product that is not limited for a while was sold before, and purchases of it may still be open. So what was taken is
-- remembered, and a piece comes back to where it was taken from.
alter table shop.stock add column limited boolean not null default true;

-- Locks what purchases give back, in the order of shop.open: whoever ends some waits for whoever begins some, and not each for
-- the other.
create function shop.back(ids uuid[]) returns void language plpgsql as $$
begin
    perform from shop.stock s
      where s.product_id in (select p.product_id from shop.purchases p where p.id = any (ids) and p.took_stock)
      order by s.product_id for update;
    perform from shop.holdings h
      where (h.user_id, h.product_id) in (select p.user_id, p.product_id from shop.purchases p
                                           where p.id = any (ids) and p.took_holding)
      order by h.user_id, h.product_id for update;
    perform from shop.promos c
      where c.code in (select p.promo from shop.purchases p where p.id = any (ids) and p.promo <> '')
      order by c.code for update;
    perform from shop.promo_uses u
      where (u.code, u.user_id) in (select p.promo, p.user_id from shop.purchases p where p.id = any (ids) and p.promo <> '')
      order by u.code, u.user_id for update;
end
$$;
